import re
from importlib import metadata
from pathlib import Path

import kerasresnet as kr

ROOT = Path(__file__).parents[1]


def test_the_newest_release_in_the_changelog_is_this_version():
    releases = re.findall(
        r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    assert releases[0] == kr.__version__


def test_the_installed_package_has_this_version():
    assert metadata.version("kerasresnet") == kr.__version__
