"""Known weaknesses of the code, of its dependencies, and their licences: `make audit`.

Three parts: bandit over archsearch/, pip-audit and pip-licenses over the packages that are installed here. What is let
pass stands in checks/excuses.yaml with its reason. Where the service that knows vulnerabilities cannot be reached, that
part is told as not done; with ``--complete`` it fails then.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
EXCUSES = Path(__file__).with_name("excuses.yaml")
ALLOWED = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CNRI-Python", "ISC", "MIT", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib",
}  # fmt: skip
"""Permissive licences, and MPL-2.0, which asks nothing of code beside its own files."""
SPELLINGS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PSF": "PSF-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "new BSD": "BSD-3-Clause",
}
OURS = "archsearch"


def may_pass(licence: str) -> bool:
    """Whether a licence, as packages write it, is allowed: all of what is joined, one of an alternative."""
    licence = licence.strip()
    while licence.startswith("(") and licence.endswith(")") and licence.count("(") == 1:
        licence = licence[1:-1]
    for joint, judge in ((r";", all), (r"\s+AND\s+", all), (r"\s+OR\s+", any)):
        parts = re.split(joint + r"(?![^(]*\))", licence)
        if len(parts) > 1:
            return judge(may_pass(part) for part in parts)
    return SPELLINGS.get(licence, licence) in ALLOWED


def unpermitted(packages: Iterable[dict[str, str]], excused: set[str]) -> tuple[list[str], set[str]]:
    """Lines about packages whose licence is unknown or not allowed, and the excuses that were needed.

    Args:
        packages: records of pip-licenses with ``Name``, ``Version``, ``License``.
        excused: names that may pass all the same.
    """
    found = [p for p in packages if p["Name"] != OURS and not may_pass(p["License"])]
    lines = [f"{p['Name']} {p['Version']}: {p['License']}" for p in found if p["Name"].lower() not in excused]
    return lines, {p["Name"].lower() for p in found} & excused


def unexcused(findings: Iterable[dict[str, Any]], excuses: list[dict[str, str]]) -> tuple[list[str], list[str]]:
    """Lines about bandit's findings that nothing excuses, and about excuses that nothing needs."""
    needed = set()
    lines = []
    for finding in findings:
        name = Path(finding["filename"]).as_posix()
        fit = [n for n, e in enumerate(excuses) if e["test"] == finding["test_id"] and e["file"] in ("*", name)]
        needed.update(fit)
        if not fit:
            lines.append(f"{name}:{finding['line_number']}: {finding['test_id']} {finding['issue_text']}")
    stale = [f"{e['test']} in {e['file']}: an excuse for nothing" for n, e in enumerate(excuses) if n not in needed]
    return lines, stale


def unanswered(report: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Lines about vulnerable packages, and names of those that the service told nothing about."""
    lines, skipped = [], []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            skipped.append(package["name"])
        for weakness in package.get("vulns", ()):
            mended = ", ".join(weakness["fix_versions"]) or "no version"
            lines.append(f"{package['name']} {package['version']}: {weakness['id']}, mended in {mended}")
    return lines, [name for name in skipped if name != OURS]


def answer(*command: str) -> Any:
    """The JSON that a tool prints; a status of 1 says that it found something."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}") from None


def tell(title: str, lines: list[str], good: str) -> bool:
    """Print a part's outcome; whether it is bad."""
    print(f"{title}: {good if not lines else f'{len(lines)} to mend'}")
    for line in lines:
        print(f"  {line}")
    return bool(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--complete", action="store_true", help="fail where vulnerabilities cannot be looked up")
    complete = parser.parse_args().complete
    excuses = yaml.safe_load(EXCUSES.read_text())
    findings = answer("bandit", "-q", "-r", "archsearch", "-f", "json")["results"]
    lines, stale = unexcused(findings, excuses["bandit"])
    bad = tell("bandit", lines + stale, f"{len(findings)} findings, each excused in {EXCUSES.name}")
    packages = answer("piplicenses", "--format=json", "--from=mixed")
    lines, _ = unpermitted(packages, {e["package"] for e in excuses["licences"]})
    bad |= tell("licences", lines, f"{len(packages)} packages, all allowed")
    lines, skipped = unanswered(answer("pip_audit", "--format=json", "--progress-spinner=off"))
    looked_up = len(packages) - len(skipped)
    bad |= tell("vulnerabilities", lines, f"none known of {looked_up} packages")
    if skipped:
        print(f"  NOT DONE for {len(skipped)} packages, of which PyPI's service told nothing: {', '.join(skipped[:8])}")
    return int(bad or (complete and bool(skipped)))


if __name__ == "__main__":
    sys.exit(main())
