"""The measuring suite."""

if __name__ != "antiphon.benchmarks":
    raise ImportError(
        "this folder is the package 'antiphon.benchmarks': import it by that name "
        "(pip install -e . in the project, then 'import antiphon.benchmarks')"
    )
