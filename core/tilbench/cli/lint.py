"""`tilbench lint`: what is wrong with suites and datasets, before anything is scored on them?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tilbench.cli.app import App, data_option, json_option, names, print_json

if TYPE_CHECKING:
    from tilbench.lint.finding import Finding

__all__ = ["lint"]


@click.command()
@click.argument("references", nargs=-1, required=True, metavar="SUITE|DATASET…")
@click.option("--strict", is_flag=True, help="End with status 1 for warnings too.")
@click.option("--ignore", default="", metavar="A,B", help="Rules whose findings are left out.")
@data_option
@json_option
@click.pass_obj
def lint(app: App, references: Sequence[str], strict: bool, ignore: str, data_dir: Path | None, as_json: bool) -> int:
    """Say what is wrong with suites (names or YAML files) and datasets (names or files).

    Errors make scores mean something else than they say, warnings may. Ends with status 1 where there are errors.

    \b
    Example:
      tilbench lint kazakh questions/kk/test --data DIR
    """
    from tilbench.lint.lint import lint as find
    from tilbench.lint.rules import known_rules

    left_out = known_rules(names(ignore))
    registry = app.host.registry
    found = (finding for reference in references for finding in find(reference, registry, data_dir))
    findings = [finding for finding in found if finding.rule not in left_out]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            for line in _lines(finding):
                click.echo(line)
        click.echo(_summary(findings))
    failing = {"error", "warning"} if strict else {"error"}
    return int(any(finding.severity in failing for finding in findings))


def _lines(finding: Finding) -> list[str]:
    from tilbench.lint.finding import listed

    rows = f" [{listed(finding.rows)}]" if finding.rows else ""
    head = f"{finding.severity} {finding.rule}: {finding.where}: {finding.message}{rows}"
    printable = "".join(sign if sign.isprintable() else "�" for sign in head)
    return [printable, f"    {finding.mend}"]


def _summary(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.severity for finding in findings)
    parts = [f"{counts[kind]} {kind}{'' if counts[kind] == 1 else 's'}" for kind in ("error", "warning", "note")]
    return ", ".join(parts)
