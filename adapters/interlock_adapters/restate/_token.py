"""The object of an idempotency token: which task of its owner used it up."""

from restate import ObjectContext, VirtualObject

from interlock_adapters.restate._host import Host, made_object, names_of, step
from interlock_adapters.restate._wire import JSON, Request, claim_json, claim_of


def token_object(host: Host) -> VirtualObject:
    """The object of a token of an owner: which task used it up."""
    token = made_object(names_of(host.place.namespace)[1], host.place)

    async def reserve(ctx: ObjectContext, request: Request) -> list[str] | None:
        """Use it up for a task; whose it is."""
        kept: list[str] | None = await ctx.get("claim", JSON)
        if kept is None:
            wanted = claim_of(request["claim"])

            async def look() -> list[str] | None:
                # A store that was used without Restate may be gone on with.
                found = await host.projection.claim(wanted.owner, wanted.token)
                return None if found is None else claim_json(found)

            kept = await step(ctx, "look", look)
            if kept is None:
                kept = request["claim"]
                ctx.set("claim", kept, JSON)
                ctx.set("commit", request["commit"], JSON)
                return None
        elif await ctx.get("commit", JSON) == request["commit"]:
            return None
        return kept

    async def release(ctx: ObjectContext, request: Request) -> None:
        """Free it again, if that task has it."""
        kept = await ctx.get("claim", JSON)
        if kept is not None and claim_of(kept).task_id == request["task_id"]:
            ctx.clear_all()

    token.handler(input_serde=JSON, output_serde=JSON)(reserve)
    token.handler(input_serde=JSON, output_serde=JSON)(release)
    return token
