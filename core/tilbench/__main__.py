"""The `tilbench` command."""

from __future__ import annotations

import sys
import warnings

import click

from tilbench.errors import TilbenchError
from tilbench.paths import no_room

__all__ = ["main"]


def main() -> None:
    """Run the command line: status 0 done, 1 failed checks, 2 a mistake to mend, 130 interrupted."""
    from tilbench.cli import cli

    warnings.showwarning = _show
    try:
        status = cli.main(standalone_mode=False)
    except TilbenchError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted; what was done is kept, and the same command resumes it", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    except OSError as error:
        if error.filename is not None:
            said = f"{error.filename}: {error.strerror}; check the path and its permissions"
        elif why := no_room(error):
            said = f"{why}; make room, and the same command resumes from what is kept"
        else:  # not about a file of the user's
            raise
        click.echo(f"error: {said}", err=True)
        sys.exit(2)
    sys.exit(status if isinstance(status, int) else 0)


def _show(message: Warning | str, *_place: object, **_more: object) -> None:
    """Print a warning as one line; whose line of code gave it is of no use here."""
    click.echo(f"warning: {message}", err=True)


if __name__ == "__main__":
    main()
