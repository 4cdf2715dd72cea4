"""Bridges to other agent frameworks."""

if __name__ != "antiphon.adapters":
    raise ImportError(
        "this folder is the package 'antiphon.adapters': import it by that name "
        "(pip install -e . in the project, then 'import antiphon.adapters')"
    )
