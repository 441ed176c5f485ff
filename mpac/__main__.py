"""Run `python -m mpac COMMAND`: find the command's module, run it, and report a failure in one sentence."""

import contextlib
import os
import signal
import sys
import traceback

import click

from mpac.cli.commands import HELP, command_names, load_command
from mpac.cli.errors import UserError, explain
from mpac.cli.exit_codes import BUG
from mpac.cli.offline_help import HELP_OPTIONS, misplaced_option_message, unknown_name_message, with_help_option
from mpac.stack.output_stream import own_output, reader_is_gone

PROGRAM = "python3 run.py"  # what a person types; the usage lines repeat it
INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended
READER_GONE = 141  # what a shell reports for a program that wrote to a closed pipe


class CommandGroup(click.Group):
    """A group that imports a command when it is used, so that `--help` stays fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return command_names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        return load_command(cmd_name) if cmd_name in command_names() else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0].startswith("-") and args[0] not in HELP_OPTIONS:
            raise click.UsageError(misplaced_option_message(args), ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in command_names() and not args[0].startswith("-"):
            raise click.UsageError(unknown_name_message("command", args[0], command_names()), ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        with formatter.section("Commands"):
            formatter.write_dl([(name, HELP[name]) for name in command_names()])


@click.group(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
def mpac() -> None:
    """MPAC SmartPOS Payments: the processes of the product, and a local stack to try them.

    `up` starts everything. `COMMAND --help` explains a command.
    """


def main() -> None:
    """Run the command that was typed.

    A failure that can be explained prints one sentence, and a bug prints its traceback.
    """
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # run.py blocked it until it can be handled
        code = mpac.main(with_help_option(sys.argv[1:]), prog_name=PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except UserError as error:
        _exit(str(error), error.exit_code)
    except click.ClickException as error:
        _exit(error.format_message(), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _exit("Interrupted.", INTERRUPTED)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and reader_is_gone(own_output()):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes once more at its end
            sys.exit(READER_GONE)
        sentence = explain(error)
        if sentence is None:  # a bug in mpac: the traceback is needed to fix it
            traceback.print_exc()
            sys.exit(BUG)
        _exit(sentence, 1)
    sys.exit(code if isinstance(code, int) else 0)


def _exit(sentence: str, code: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.write(f"mpac: {' '.join(sentence.split())}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
