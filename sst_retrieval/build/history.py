"""The history of an index: what a build leaves about itself in the manifest (JSON values).

`index.origin` reads it again, to say where an index comes from and to build it once more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sst_retrieval import provenance
from sst_retrieval.build.job import BuildState, Job, collect_notes
from sst_retrieval.build.second_pass import read_choice
from sst_retrieval.index.manifest import Generation


def previous_reference(generation: Generation | None) -> str | None:
    """Read which group an index is aligned to; None if it is new, or was made before there was a reference."""
    return None if generation is None else generation.provenance.get("laid_like")


def describe_build(job: Job, state: BuildState, *, complete: bool, indexed: int) -> dict[str, Any]:
    """Describe how the new state of an index was made.

    Args:
        job: what the build worked with.
        state: what it has done.
        complete: False if it was interrupted.
        indexed: number of photographs that the index holds now.

    Returns:
        JSON values. The keys are part of the format of an index, "laid_like" (the reference group) among them.
    """
    return {
        "complete": complete and not job.plan.waiting,
        "started": job.started,
        "ended": provenance.now(),
        **_describe_inputs(job),
        **_describe_groups(job, state),
        "laid_like": job.reference,
        **_describe_second_pass(job),
        "synonyms": {trait: list(words) for trait, words in job.supports.synonyms.items()},
        "photographs": {
            "indexed": indexed,
            "processed": state.processed,
            "reused": job.plan.reused,
            "waiting": job.plan.waiting,
            "skipped": len(job.plan.skipped) + len(state.skipped),
        },
        "notes": list(collect_notes(job, state)),
        "workers": job.workers,
        "seconds_per_image": state.seconds_per_image,
    }


def _describe_inputs(job: Job) -> dict[str, Any]:
    """Describe table, supports, settings and models, and the programs that ran."""
    return {
        "table": str(job.collection.source),
        "supports_folder": str(job.supports_folder),
        "folder": str(Path.cwd()),
        "settings": _as_json(asdict(job.settings)),
        "device": job.engines.device,
        "weights": job.engines.weights,
        **provenance.programs(),
    }


def _describe_groups(job: Job, state: BuildState) -> dict[str, Any]:
    """Describe the supports of every group and its alignment; of groups that were left alone as the last state does."""
    previous = {} if job.store.generation is None else job.store.generation.provenance
    selected = job.settings.groups  # Empty: every group.
    current = [
        {"specimen": each.individual, "group": each.group, "traits": list(each.traits)}
        for each in job.supports.references
        if not selected or each.group in selected
    ]
    kept = [each for each in previous.get("supports", []) if selected and each["group"] not in selected]
    alignments = {**previous.get("alignments", {}), **state.alignments}
    return {
        "supports": [*current, *kept],
        **_describe_finder(job),
        "alignments": {group: account for group, account in alignments.items() if group in job.supports.fingerprints},
    }


def _describe_second_pass(job: Job) -> dict[str, Any]:
    """Describe which photographs of every group joined its supports, in their order; empty without a second pass."""
    if not job.settings.second_pass:
        return {}
    notes = job.store.read_notes()
    choices = {group: read_choice(notes, fingerprint) for group, fingerprint in job.supports.fingerprints.items()}
    joined = {group: [each.photograph for each in chosen] for group, chosen in choices.items() if chosen is not None}
    return {"second_pass": {"at_most": job.settings.second_pass, "groups": joined}}


def _describe_finder(job: Job) -> dict[str, Any]:
    """Describe which groups may show several individuals, and what finds them; empty if there are none."""
    if job.engines.finder is None:
        return {}
    outlines = getattr(job.engines.finder, "outlines", None)
    return {
        "individuals": dict(job.supports.individuals),
        "finder": job.engines.finder.name,
        **({} if outlines is None else {"outlines": dict(outlines)}),
    }


def _as_json(value: Any) -> Any:
    """Turn settings into JSON values: true stays true, a number a number; a path becomes text."""
    if isinstance(value, Mapping):
        return {str(name): _as_json(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(part) for part in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
