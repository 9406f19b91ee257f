"""Stage keys: what must change for a finished shard to be done again, and how to say it.

A key hashes everything about a stage that can change its output, except its inputs; those are hashed shard by shard
in the markers (`store.py`).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cineforge_hf.processor import Processor
from cineforge_hf.schema import SCHEMA_VERSION

# Threads per engine and encoder. Fixed, since the number of threads can change results; workers give the parallelism.
THREADS = 1


def stage_identity(processor: Processor) -> dict[str, Any]:
    """Everything that makes a stage's output what it is, as JSON types."""
    return {
        "name": processor.name,
        "version": processor.version,
        "schema": SCHEMA_VERSION,
        "threads": THREADS,
        "settings": processor.settings,
        "engines": [[e.name, e.revision] for e in processor.engines],
    }


def stage_key(processor: Processor) -> str:
    """SHA-256 of the stage's identity, 64 hex digits."""
    canonical = json.dumps(stage_identity(processor), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def explain_change(old: dict[str, Any], new: dict[str, Any]) -> str:
    """One line that says how two identities of a stage differ, e.g. `max_seconds 60.0 -> 30.0`."""
    changes = [f"{k} {old.get(k)} -> {new.get(k)}" for k in ("version", "schema", "threads") if old.get(k) != new.get(k)]
    engines, wanted = dict(old.get("engines", [])), dict(new.get("engines", []))
    names = sorted({*engines, *wanted})
    changes += [f"engine {k} {engines.get(k)} -> {wanted.get(k)}" for k in names if engines.get(k) != wanted.get(k)]
    before, after = old.get("settings", {}), new.get("settings", {})
    changes += [f"{k} {before.get(k)} -> {after.get(k)}" for k in sorted({*before, *after}) if before.get(k) != after.get(k)]
    return ", ".join(changes) or "nothing changed"
