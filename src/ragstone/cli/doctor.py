"""`doctor`: what is wrong with the installation and the store, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ragstone.cli import checks, invocation, terminal
from ragstone.cli.failures import unexpected
from ragstone.cli.invocation import Invocation, JsonFlag
from ragstone.errors import RagstoneError

if TYPE_CHECKING:
    from ragstone.settings import Settings

# Each check and the exit status if it is the first that failed; docs/troubleshooting.md has an entry for each.
STATUS = {
    "versions": 10,
    "settings": 2,
    "folder": 11,
    "disk": 12,
    "memory": 16,
    "redis": 17,
    "model": 13,
    "service": 14,
    "store": 15,
    "imports": 18,
    "search": 19,
    "recall": 20,
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `status` is the exit status if it is the first that failed."""

    check: str
    ok: bool
    message: str
    hint: str
    status: int


def doctor(
    context: typer.Context,
    *,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    json_output: JsonFlag = False,
) -> int:
    """Check the installation and the store, and mend it.

    The exit status is that of the first check that failed (10 to 20, settings 2); docs/troubleshooting.md lists them.
    """
    findings = examine(invocation.of(context), repair=repair)
    if json_output:
        from ragstone.wire import plain_json

        terminal.say_json({"ok": all(f.ok for f in findings), "checks": plain_json(findings)})
    else:
        _show(findings)
    return next((finding.status for finding in findings if not finding.ok), 0)


def examine(current: Invocation, *, repair: bool = False) -> list[Finding]:
    """What every check found, in the order of `STATUS`. A check whose ground is missing is left out."""
    installed = _checked("versions", checks.versions)
    findings = [installed]
    settings: Settings | None = None

    def load() -> str:
        nonlocal settings
        settings = current.settings()
        changed = [name for name, origin in settings.origins.items() if origin != "default"]
        return f"read; {', '.join(changed)} set" if changed else "read; all defaults"

    findings.append(_checked("settings", load))
    if settings is None:
        return findings
    known = settings
    findings += [
        _checked("folder", lambda: checks.folder(known.data_dir)),
        _checked("disk", lambda: checks.disk(known.data_dir)),
        _checked("memory", checks.memory),
        _checked("redis", lambda: checks.redis(known)),
    ]
    if not installed.ok:
        return findings
    findings += [
        _checked("model", lambda: checks.model(current)),
        _checked("service", lambda: checks.service(known)),
    ]
    with current.engine() as engine:
        findings.append(_checked("store", lambda: checks.store(engine, repair=repair)))
    findings.append(_checked("imports", lambda: checks.imports(known)))
    with current.engine() as engine:  # opened anew: how long that takes is part of the check
        findings += [
            _checked("search", lambda: checks.search(engine)),
            _checked("recall", lambda: checks.recall(engine, wanted=known.recall)),
        ]
    return findings


def _checked(check: str, run: Callable[[], str]) -> Finding:
    """The finding of one check; whatever goes wrong in it, the next checks run."""
    status = STATUS[check]
    try:
        return Finding(check, ok=True, message=run(), hint="", status=status)
    except RagstoneError as error:
        return Finding(check, ok=False, message=error.message, hint=error.hint, status=status)
    except Exception as error:  # noqa: BLE001 - a broken installation fails in ways of its own; it is reported
        found = unexpected(error)
        return Finding(check, ok=False, message=found.message, hint=found.hint, status=status)


def _show(findings: list[Finding]) -> None:
    from rich.text import Text

    failed = sum(not finding.ok for finding in findings)
    verdict = f"{terminal.count(failed, 'check')} failed" if failed else "everything is in order"
    terminal.say(verdict, style="bold red" if failed else "bold")
    for finding in findings:
        mark = ("ok    ", "green") if finding.ok else ("failed", "red")
        terminal.say(Text.assemble(mark, f"  {finding.check:<9} {terminal.clean(finding.message)}"))
        if finding.hint:
            terminal.say(f"        {'':<9} hint: {terminal.clean(finding.hint)}")
