"""Thin network shells around pipeline sessions."""

if __name__ != "antiphon.server":
    raise ImportError(
        "this folder is the package 'antiphon.server': import it by that name "
        "(pip install -e . in the project, then 'import antiphon.server')"
    )
