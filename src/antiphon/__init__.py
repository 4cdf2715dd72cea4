"""Antiphon: a chained voice pipeline that you run yourself."""
