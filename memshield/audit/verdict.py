"""What follows from the figures of an audit, in sentences: its verdict and its limits. No torch."""

from __future__ import annotations

from memshield.audit.report import SECOND, Data, GeneratedSet, Memorization, percent


def verdict(generated: GeneratedSet, headline: Memorization) -> str:
    """The result in one sentence."""
    if generated.is_broken:
        return (
            f"The model is broken: {generated.broken} of {generated.count} generated pictures "
            "hold values that are no numbers, so nothing can be said of its memorization."
        )
    if headline.cannot_say is not None or headline.excess_interval is None:
        return f"This audit cannot say how much the model memorizes: {headline.cannot_say}."
    assert headline.share is not None
    assert headline.control is not None
    low, high = headline.excess_interval
    how = ", compared with the next one," if headline.statistic == SECOND else ""
    shares = (
        f"{percent(headline.share)} of the generated pictures lie nearer to one training picture"
        f"{how} than a threshold that {percent(headline.control)} of fresh real pictures pass"
    )
    if low > 0:
        return (
            f"The model gives training pictures back: {shares} "
            f"(excess {percent(low)} to {percent(high)}, 95 % interval)."
        )
    return (
        f"No sign beyond chance that the model gives training pictures back: {shares} "
        f"(excess at most {percent(max(high, 0.0))}, 95 % interval)."
    )


def limits_of(made: GeneratedSet, data: Data) -> tuple[str, ...]:
    """What an audit of these pictures cannot show, a sentence each."""
    whole = made.count - made.broken
    limits = [
        "This is a measurement, not differential privacy: it does not prove that a picture cannot "
        "be recovered by other means.",
        "Pixels find copies and near-copies at their place; a copy that is moved, turned or "
        "recoloured needs an embedding made for copies, such as SSCD.",
        f"Chance is what {data.held_out} held-out pictures show. Where they differ from the "
        "training pictures in kind, the threshold is off.",
    ]
    if whole > 3:  # three times one over their number, the "rule of three"
        limits.insert(
            1,
            f"{made.count} pictures were generated: what fewer than {percent(3 / whole)} of "
            "pictures give back can be missed altogether.",
        )
    if data.overlap:
        limits.append(
            f"{data.overlap} of the pictures that were named as held out are training pictures, "
            "equal pixel by pixel, and were left out. There may be others that are nearly equal."
        )
    if data.near_overlap:
        limits.append(
            f"{data.near_overlap} of the pictures that were named as held out are nearly equal to "
            "training pictures, and were left out."
        )
    if data.compared_crops:
        who = (
            f"{data.random_crops} training pictures are not square, and were or may have been"
            if data.random_crops
            else "Training pictures that are not square were, for a model that this one is "
            "compared with,"
        )
        limits.append(
            f"{who} cropped at random. In pixels each is compared by crops from one end to the "
            "other, at most a 64th of their side off, which can miss copies of fine textures; "
            "held-out pictures are cut at random. Embeddings and membership look at the middle "
            "of training pictures."
        )
    if data.buckets:
        count = len(data.buckets)
        sizes = "one size" if count == 1 else f"{count} sizes"
        limits.append(
            f"Training pictures were learned in {sizes}, near their own shapes, and are compared "
            f"at a common one: squares of {data.resolution} px"
            + ("" if data.compared_crops else " from their middle")
            + ". A copy of what lies outside, or one that is drawn in another shape only, can be "
            "missed. Membership is tested on such squares too, and shows less than in the sizes "
            "of training."
        )
    if made.prompts == "train":
        limits.append("Prompts were the training captions: the worst case, not everyday use.")
    elif made.prompts is not None:
        kind = made.prompts.replace("_", "-")
        which = f"those of {kind}" if kind == "a file" else f"{kind} ones"
        limits.append(f"Prompts were {which}: training captions may bring back more.")
    if made.broken:
        limits.append(
            f"{made.broken} pictures hold values that are no numbers and are left out everywhere."
        )
    return tuple(limits)
