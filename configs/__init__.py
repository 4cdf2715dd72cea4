"""The ready YAML configurations, as package data: `local.yaml` is what runs where none is named."""

if __name__ != "antiphon.configs":
    raise ImportError(
        "this folder is the package 'antiphon.configs': import it by that name "
        "(pip install -e . in the project, then 'import antiphon.configs')"
    )
