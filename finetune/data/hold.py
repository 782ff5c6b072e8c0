"""Who has the store open: nothing is evicted from under a process that uses it.

sqlite's own lock on an empty file, since that works on every system and is let go of when a process dies, however it
dies.
"""

import sqlite3
from pathlib import Path

from finetune.data import database

NAME = "in-use.sqlite"


class Hold:
    """Held together with others from when it is made until it is closed, and `alone` when no one else holds it.

    Raises OSError and sqlite3.Error when that is not possible within `patience` seconds.
    """

    def __init__(self, folder: Path, *, patience: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._patience = patience
        self._connection = sqlite3.connect(folder / NAME, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("PRAGMA journal_mode = MEMORY")  # there is nothing to roll back
            self.share()
        except sqlite3.Error as error:
            self._connection.close()
            if database.is_damage(error):  # something else lies there: the next to come makes it anew
                database.remove(folder / NAME)
            raise

    def alone(self) -> bool:
        """Whether no one else holds it now; if so, no one can until `share` or `close`."""
        self._let_go()
        self._connection.execute("PRAGMA busy_timeout = 0")
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return False
        return True

    def share(self) -> None:
        """Holds it together with others, after `alone` too."""
        self._let_go()
        self._connection.execute(f"PRAGMA busy_timeout = {int(1000 * self._patience)}")
        self._connection.execute("BEGIN")
        self._connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()  # only reading takes the lock

    def close(self) -> None:
        self._connection.close()

    def _let_go(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
