"""Wheels, and fresh environments that they are installed into."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, folder: Path, succeeds: bool = True) -> str:
    """What a command prints (or its error, where it has to fail), with no trace of this checkout in its environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode == 0) == succeeds, done.stdout + done.stderr
    return done.stdout if succeeds else done.stderr


def build(out: Path, *options: str, source: Path = ROOT) -> None:
    """Builds a distribution of a source folder by the build back end that is installed here."""
    run(sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", out, source, folder=out)


def only(folder: Path, pattern: str) -> Path:
    (path,) = folder.glob(pattern)
    return path


@dataclass(frozen=True)
class Environment:
    """A Python of its own, with its scripts."""

    scripts: Path

    def run(self, program: str, *arguments: str | Path, folder: Path, succeeds: bool = True) -> str:
        return run(self.scripts / program, *arguments, folder=folder, succeeds=succeeds)

    def install(self, wheel: Path) -> None:
        """The wheel alone, from its file: everything else is there."""
        self._pip("install", "--no-index", "--no-deps", wheel, folder=wheel.parent)

    def uninstall(self, distribution: str) -> None:
        self._pip("uninstall", "--yes", distribution, folder=self.scripts)

    def _pip(self, *arguments: str | Path, folder: Path) -> None:
        run(sys.executable, "-m", "pip", "--python", self.scripts / "python", *arguments, folder=folder)


def fresh_environment(folder: Path, wheel: Path) -> Environment:
    """An environment that holds the wheel and, by links, the dependencies that are installed here, so that nothing is
    downloaded; but neither this environment's variata nor the .pth files through which a checkout would be imported.
    What it does not show is whether the wheel names all of its dependencies."""
    dependencies = folder / "dependencies"
    dependencies.mkdir()
    for site in dict.fromkeys(path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")):
        for path in Path(site).iterdir():
            link = dependencies / path.name
            ours = "variata" in path.name or path.suffix == ".pth" or path.name == "__pycache__"
            if not ours and not link.exists():
                link.symlink_to(path)

    venv.create(folder / "venv", symlinks=True)
    environment = Environment(folder / "venv" / "bin")
    environment.install(wheel)
    program = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = environment.run("python", "-c", program, folder=folder)
    (Path(site.strip()) / "dependencies.pth").write_text(f"{dependencies}\n", encoding="utf-8")
    return environment
