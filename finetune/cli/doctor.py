"""`doctor`: what this machine has, what is missing, and how fast it is."""

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from finetune.runtime import Runtime

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output.")


@click.command()
@_JSON
def doctor(as_json: bool) -> None:
    """Say what this machine has, and measure how fast it is; `finetune plan` then estimates times.

    Versions, mismatches, device, bf16, threads, disk, cache, and whether the hub answers within 3 seconds.
    """
    from finetune.recipe.machine import cache_folder, versions, write_rates

    click.echo("loading torch and measuring, about ten seconds", err=True)
    from finetune.model.speed import measure
    from finetune.model.weights import hub_answers
    from finetune.runtime import start

    runtime = start()
    fault = _installation_fault()
    folder = cache_folder()
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    facts: dict[str, Any] = {
        "versions": versions(),
        "packages fit together": "no: " + fault if fault else "yes",
        "processors": os.cpu_count(),
        "free disk here": _gigabytes(shutil.disk_usage(".").free),
        "cache": f"{folder}, {_gigabytes(shutil.disk_usage(nearest).free)} free",
        "hub": hub_answers(),
        **_device(runtime),
    }
    if not fault:
        rates = measure(runtime)
        write_rates(rates)
        facts["measured"] = {
            "forward": f"{rates.forward_gmacs:.0f} billion multiply-adds a second",
            "training": f"{rates.training_gmacs:.0f} billion multiply-adds a second",
            "decoding": f"{rates.decode_images:.0f} images of 500 x 375 pixels a second",
        }
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            click.echo(f"{name}:")
            width = max(map(len, value))
            for key, inner in value.items():
                click.echo(f"    {key:<{width}}  {inner}")
        else:
            click.echo(f"{name}: {value}")


def _installation_fault() -> str:
    """Why the network library cannot be loaded, as one sentence; nothing when it can."""
    from finetune.errors import BrokenInstallation
    from finetune.model import backbone

    try:
        backbone.library()
    except BrokenInstallation as error:
        return str(error)
    return ""


def _device(runtime: "Runtime") -> dict[str, Any]:
    from finetune.runtime import has_bf16

    return {
        "device": str(runtime.device),
        "bf16 in hardware": "yes: training steps use it" if has_bf16(runtime.device) else "no: they are float32",
        "threads": runtime.threads,
    }


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.0f} GB"
