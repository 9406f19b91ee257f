"""`convert`: released weights to folders that `from_pretrained` reads."""

from __future__ import annotations

import argparse

from rich.console import Console

from cineforge_hf.cli import OK


def convert(options: argparse.Namespace) -> int:
    """Converts a release."""
    from cineforge_hf.modeling.convert import convert as convert_weights

    report = convert_weights(options.source, options.output, revision=options.revision)
    Console(soft_wrap=True).print(report, highlight=False, markup=False)
    return OK
