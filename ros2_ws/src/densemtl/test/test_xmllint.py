"""The XML files are well-formed, and package.xml follows its schema, where ament_xmllint is installed."""

import shutil

import pytest

xmllint = pytest.importorskip("ament_xmllint.main")


@pytest.mark.xmllint
@pytest.mark.linter
@pytest.mark.skipif(shutil.which("xmllint") is None, reason="xmllint is not installed")
def test_xmllint():
    assert xmllint.main(argv=[]) == 0
