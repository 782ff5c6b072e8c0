"""The folder that a run leaves: claimed, locked and written so that a crash harms nothing, and read with suspicion."""

from finetune.bundle.durable import sync_folder, write_atomically
from finetune.bundle.folder import UNSEALED, Bundle
from finetune.bundle.timings import Timings
from finetune.bundle.unwritten import Unwritten

__all__ = ["UNSEALED", "Bundle", "Timings", "Unwritten", "sync_folder", "write_atomically"]
