"""``cryotx review``: look at picks in the browser and correct them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cryotx_cli.cli.settings_flags import settings_flags
from cryotx_cli.config import ReviewConfig

if TYPE_CHECKING:
    from cryotx_cli.review.edition import Written
    from cryotx_cli.workflows.review import Address, Review


@settings_flags(ReviewConfig)
def review(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN|MICROGRAPHS...",
            help="A run of cryotx pick, its STAR file or folder; or micrographs to pick by hand.",
        ),
    ],
    config: ReviewConfig,
) -> None:
    """Look at picks in the browser and correct them.

    Examples
    --------
    cryotx review particles/
    cryotx review particles/ --write --formats relion,cbox
    """
    from cryotx_cli.cli.console import status
    from cryotx_cli.workflows.review import review as open_review

    under_review = open_review(inputs, config)
    under_review.events.listen(lambda event: status(event.text))
    if not config.write:
        _serve(under_review, config)
    if config.write or not under_review.is_written:
        _print_summary(under_review.write())
    under_review.close()


def _serve(under_review: Review, config: ReviewConfig) -> None:
    from cryotx_cli.cli.console import status
    from cryotx_cli.review.serving import is_loopback

    if not is_loopback(config.host):
        status(
            f"Warning: --host {config.host} lets others on the network try to reach this page, and what it shows goes "
            "over the network as it is. A tunnel (ssh -L) is safer."
        )
    first = True

    def tell(address: Address) -> None:
        nonlocal first
        if first:
            status(f"Open    {address.url}")
            status(f"From another machine, type this there first: {address.tunnel}")
            status("Changes are kept as they are made. Ctrl-C ends the review and writes its files.")
        else:
            status(f"The address has been used. The next one: {address.url}")
        first = False

    under_review.serve(tell)


def _print_summary(written: Written) -> None:
    from cryotx_cli.cli.console import facts

    facts(
        f"Wrote {written.star}",
        [
            ("Micrographs", f"{written.micrographs}"),
            ("Picks", f"{written.picks}"),
            ("Marked as done", f"{written.done}"),
            ("Marked as bad", f"{written.bad}, left out"),
        ],
    )
