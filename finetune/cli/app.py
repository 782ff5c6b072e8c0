"""The group of commands, and the one place that turns errors into messages and exit codes."""

import functools
import importlib
import json
import shutil
import signal
import sys
from typing import Any

import click

from finetune import __version__
from finetune.errors import FinetuneError, OutOfResources, Stopped, UsageError, printable, suggestion

_COMMANDS = {
    "init": "writing",
    "check": "checking",
    "plan": "looking",
    "run": "training",
    "resume": "training",
    "evaluate": "answering",
    "predict": "answering",
    "features": "extracting",
    "review": "reviewing",
    "report": "looking",
    "compare": "comparing",
    "runs": "runs",
    "backbones": "backbones",
    "schema": "writing",
    "cache": "cache",
    "doctor": "doctor",
}
_SUMMARIES = {
    "init": "Write a recipe for a folder of images.",
    "check": "Look at every image and say what is there, and what may be wrong with it.",
    "plan": "Say what a run would do and cost, without running it.",
    "run": "Train a classifier from a recipe or a folder; leaves a bundle.",
    "resume": "Go on with a run that was stopped.",
    "evaluate": "Score a bundle on a folder of labelled images.",
    "predict": "Answer for images, with probabilities.",
    "features": "Write what a network makes of images: a row of numbers for each.",
    "review": "Look through suspected labels, copies and outliers, and correct them.",
    "report": "Draw the report of a bundle again.",
    "compare": "Say what differs between bundles, and by how much more than chance.",
    "runs": "List the bundles in a folder, with their scores.",
    "backbones": "List the networks that a recipe can name, family by family.",
    "schema": "Print the JSON schema of recipes, for editors.",
    "cache": "Say what is kept to be computed only once, or remove it.",
    "doctor": "Say what this machine has, and measure it.",
}


class _Commands(click.Group):
    """Loads the module of a command when it is called; the list of commands needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = importlib.import_module(f"finetune.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _SUMMARIES[name]) for name in _COMMANDS])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = suggestion(args[0], _COMMANDS) or f"; the commands are {', '.join(_COMMANDS)}"
            raise UsageError(f"there is no command {printable(args[0])!r}{near}")
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="finetune", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error; may stand anywhere.")
def app() -> None:
    """A folder of your own images, and the question which is which.

    \b
    finetune run photos/           train on class folders, leave a bundle
    finetune predict runs/photos/1 new.jpg
    """


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits. The exit codes are those of `finetune.errors`, 2 for a wrong call."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]  # it may stand anywhere
    if not debug:
        sys.excepthook = functools.partial(_report_bug, as_json="--json" in arguments)
    terminated = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app.main(args=arguments, prog_name="finetune", standalone_mode=False)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail(Stopped("stopped by SIGINT", signal=2), debug=debug, arguments=arguments)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(UsageError.exit_code)
    except click.ClickException as error:
        _fail(UsageError(_usage(error)), debug=debug, arguments=arguments)
    except SystemExit:
        sys.exit(0)  # how click ends when the reader of our output has gone, as in `finetune … | head`
    except FinetuneError as error:
        _fail(error, debug=debug, arguments=arguments)
    except OSError as error:
        _fail(OutOfResources(_system(error)), debug=debug, arguments=arguments)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        _fail(
            OutOfResources("not enough memory; a smaller train.batch_size or images.size needs less"),
            debug=debug,
            arguments=arguments,
        )

    finally:
        signal.signal(signal.SIGTERM, terminated)
    if code:  # of a command that did what it was asked to, and has bad news
        sys.exit(code)


def _terminate(number: int, _frame: object) -> None:
    """SIGTERM wherever no run is under way that would stop at its next step."""
    raise Stopped("stopped by SIGTERM", signal=number)


def _fail(error: FinetuneError, *, debug: bool, arguments: list[str]) -> None:
    if debug:
        raise error
    if "--json" in arguments:
        fault = {"id": error.id, "exit_code": error.exit_code, "message": str(error)}
        click.echo(json.dumps({"error": fault}, indent=1))
    click.echo(_shown(f"finetune: error[{error.id}]: {error}"), err=True)
    sys.exit(error.exit_code)


def _shown(text: str) -> str:
    """As it is for logs and programs; on a terminal in lines that break between words."""
    if not sys.stderr.isatty():
        return text
    from finetune.cli.wording import fitted

    return "\n".join(fitted(text, shutil.get_terminal_size().columns))


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """torch has no class of its own for memory that the processor lacks, only a text."""
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "out of memory" in str(error)


def _usage(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption) and error.ctx:
        options = [
            name for one in error.ctx.command.params for name in (*one.opts, *one.secondary_opts) if name[0] == "-"
        ]
        near = suggestion(error.option_name, options) or f"; see `{error.ctx.command_path} --help`"
        return f"{error.ctx.command_path} has no option {printable(error.option_name)!r}{near}"
    message = error.format_message().rstrip(".")
    command = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "finetune"
    return f"{printable(message[:1].lower() + message[1:])}; see `{command} --help`"


def _system(error: OSError) -> str:
    where = f": {printable(str(error.filename))}" if error.filename else ""
    return f"{(error.strerror or str(error)).lower()}{where}"


def _report_bug(kind: type[BaseException], error: BaseException, trace: Any, *, as_json: bool = False) -> None:
    """A bug of ours: a line for people, the traceback in a file for whoever mends it."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="finetune-crash-", suffix=".txt", delete=False, encoding="utf-8"
    ) as file:
        traceback.print_exception(kind, error, trace, file=file)
    said = f"{kind.__name__}: {printable(str(error))}"
    message = f"{said}; this is a fault of finetune, not yours: the traceback is in {file.name}"
    if as_json:
        click.echo(json.dumps({"error": {"id": "bug", "exit_code": 1, "message": message}}, indent=1))
    click.echo(f"finetune: error[bug]: {message}", err=True)
