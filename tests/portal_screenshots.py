"""Take a picture of every page in every language, on a phone and on a desktop: `make screenshots`.

Writes var/screenshots/PAGE.LANGUAGE.WIDTH.png, of a town of the tests.
"""

import sys
import tempfile
from pathlib import Path

from hub.web.words import LANGUAGES
from tests.browser import DESKTOP, PHONE, chromium
from tests.portal_world import PortalTown, pages_of, portal, signed_in

TARGET = Path(__file__).resolve().parents[1] / "var" / "screenshots"


def main(only: str = "") -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        town = PortalTown(Path(directory))
        pages = pages_of(town.settle())
        with portal(town) as address, chromium() as browser:
            for width, height in (PHONE, DESKTOP):
                for language in LANGUAGES:
                    with signed_in(browser, address, language, width=width, height=height) as page:
                        for name, path in pages.items():
                            if only in name:
                                page.goto(address + path)
                                page.screenshot(path=TARGET / f"{name}.{language}.{width}.png", full_page=True)
    sys.stdout.write(f"{len(list(TARGET.glob('*.png')))} pictures in {TARGET}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
