"""HL7's engine as HAPI ships it: built once with Maven, then run without a network."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from conformance.definitions import lay_out, lay_out_package, lay_out_plan_net
from etl.profiles.guides import C4BB, Guide

HERE: Final = Path(__file__).parent
TARGET: Final = HERE / "target"
GUIDE: Final = HERE.parents[1] / "shared" / "ig"
PLAN_NET: Final = "davinci-pdex-plan-net"
JAVA: Final = "java"
MAVEN: Final = "mvn"
MEMORY: Final = "-Xmx3g"
BUILD_SECONDS: Final = 900


class UnavailableError(Exception):
    """The engine, or what it needs, is not to be had here: the check is skipped, aloud."""


@dataclass(frozen=True, slots=True)
class EngineIssue:
    """What the engine says about one line.

    Attributes:
        file: as it was given.
        line: of the file, from 1.
        severity: fatal, error, warning or information.
        path: FHIRPath.
        rule: the engine's message id; for an invariant its key; "" where it gives none.
        text: its sentence. It quotes values: only for made-up data.
    """

    file: str
    line: int
    severity: str
    path: str
    rule: str
    text: str

    @property
    def is_error(self) -> bool:
        """Whether the resource does not conform, in the engine's eyes."""
        return self.severity in {"error", "fatal"}


def prepare(guide: Guide = C4BB) -> list[str]:
    """Build the engine and lay out the definitions of a guide; return the command that runs it.

    Args:
        guide: C4BB, or a version of a public guide.

    Raises:
        UnavailableError: no Java, no Maven, no registry, or no definitions.
    """
    if not GUIDE.is_dir():
        raise UnavailableError("the guide's definitions are not beside the repository")
    java = compiled()
    definitions = TARGET / "definitions" / f"{guide.id}-{guide.version}"
    shutil.rmtree(definitions, ignore_errors=True)
    if guide is C4BB:
        lay_out(GUIDE, definitions)
    elif guide.id == PLAN_NET:
        lay_out_plan_net(guide, GUIDE / f"plan-net-{guide.version}", definitions)
    else:
        package = GUIDE / "packages" / f"hl7.fhir.us.{guide.id}-{guide.version}.tgz"
        lay_out_package(guide, package, GUIDE / "plan-net-1.2.0", definitions)
    return [*java, "bluebutton.Judge", str(definitions)]


def compiled() -> list[str]:
    """Build what is in Java; return the command that runs a class of it, but for its name.

    Raises:
        UnavailableError: no Java, no Maven, or no registry.
    """
    for tool in (JAVA, MAVEN):
        if shutil.which(tool) is None:
            raise UnavailableError(f"{tool} is not installed")
    classpath = TARGET / "classpath.txt"
    goals = ["compile", "dependency:build-classpath", f"-Dmdep.outputFile={classpath}"]
    # What was fetched before is enough; the registry is asked only for what is missing.
    if _maven("-o", *goals) != "" and (why := _maven(*goals)) != "":
        raise UnavailableError(f"Maven could not build it: {why}")
    return [JAVA, MEMORY, "-cp", f"{TARGET / 'classes'}:{classpath.read_text().strip()}"]


def _maven(*arguments: str) -> str:
    """Run Maven; return "" when it succeeded, else the first line that says why not."""
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            [MAVEN, "-q", "-B", "-f", str(HERE / "pom.xml"), *arguments],
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "no answer in time"
    if done.returncode == 0:
        return ""
    errors = (line for line in done.stdout.splitlines() if "[ERROR]" in line)
    return next(errors, "no reason given").partition("[ERROR]")[2].strip()


def judge(command: Sequence[str], files: Sequence[Path], threads: int = 2) -> Iterator[EngineIssue]:
    """Yield what the engine says about every line of the files, in order.

    Raises:
        RuntimeError: the engine failed, or did not look at every file.
    """
    done = subprocess.run(  # noqa: S603 - our own command, over files that the caller named
        [*command, str(threads), *map(str, files)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"the engine failed: {done.stderr.strip().splitlines()[-1:]}")
    checked = 0
    for line in done.stdout.splitlines():
        said = json.loads(line)
        if "checked" in said:
            checked += 1
        else:
            rule = (said["rule"] or "").rpartition("#")[2]
            yield EngineIssue(
                said["file"], said["line"], said["severity"], said["path"] or "", rule, said["text"]
            )
    if checked != len(files):
        raise RuntimeError(f"the engine looked at {checked} of {len(files)} files")
