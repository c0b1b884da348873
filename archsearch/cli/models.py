"""``archsearch models``: presets, and the fields of their families."""

from __future__ import annotations

from typing import Annotated

import typer

from archsearch.cli.options import Json
from archsearch.cli.output import millions, print_json, print_table

app = typer.Typer(help="Model presets.", no_args_is_help=True)


@app.command("list")
def list_models(json: Json = False) -> None:
    """List the presets."""
    from archsearch.models.registry.families import load_preset, preset_names

    configs = {name: load_preset(name) for name in preset_names()}
    rows = [{"name": n, "family": c.family, "parameters": int(c.parameters())} for n, c in configs.items()]
    if json:
        print_json(rows)
    else:
        table = [(r["name"], r["family"], millions(float(str(r["parameters"])))) for r in rows]
        print_table("", ("preset", "family", "parameters"), table, left=("preset", "family"))


@app.command("show")
def show(
    model: Annotated[str, typer.Argument(help="A preset, a config.json or an archsearch YAML.")], json: Json = False
) -> None:
    """Show a model's dimensions."""
    from archsearch.models.registry.load import load_model

    config = load_model(model)
    document = {"family": config.family, **config.to_dict()}
    if json:
        print_json({**document, "parameters": int(config.parameters())})
        return
    import yaml

    print(yaml.safe_dump(document, sort_keys=False), end="")
    print(f"# {int(config.parameters()):,} parameters")


@app.command("fields")
def list_fields(
    family: Annotated[str, typer.Argument(help="A family; `archsearch models list` shows it beside each preset.")],
    json: Json = False,
) -> None:
    """List the fields of a family: type, default, meaning."""
    from archsearch.models.family_fields import family_fields
    from archsearch.models.registry.families import get_family

    found = family_fields(family, get_family(family))
    if json:
        print_json([field.to_dict() for field in found])
        return
    table = [(f.name, f.type, "required" if f.default is None else f.default, f.meaning) for f in found]
    columns = ("field", "type", "default", "meaning")
    print_table(f"fields of family {family}", columns, table, left=columns)
