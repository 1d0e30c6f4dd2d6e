"""What other programs call our flags, for a hint where somebody types one of those."""

from __future__ import annotations

from typing import Any

_OTHER_NAMES = {
    "--pixel-size": "--apix --angpix --px --pix --psize --pixelsize --voxel-size -a",
    "--diameter": "--particle-diameter --particle-size --diam --size --expected-diameter -d",
    "--out": "--output --odir --o --out-dir --output-dir --outdir -o",
    "--threshold": "--thr --thresh --cutoff --score --confidence -t",
    "--weights": "--model --checkpoint --ckpt --network -w -m",
    "--device": "--gpu --gpus --cuda -g",
    "--box": "--box-size --boxsize --extract-size -b",
    "--min-distance": "--distance --min-dist --mindist",
    "--expected-count": "--num-particles --expected-particles --nr-particles",
    "--workers": "--jobs --threads --num-workers --cpus -j",
    "--against": "--mics --micrographs --exposures",
    "--images": "--pictures --png --plots",
    "--restart": "--overwrite --force -f",
    "--formats": "--format --to",
    "--data": "--labels --truth",
}
_INPUT = ("-i", "--i", "--in", "--input", "--mics", "--micrographs")


def hint_for(typed: str, command: Any) -> str:
    """Return what to type instead of an unknown flag of this command; nothing where that is not known."""
    flags = {name for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("-")}
    if typed in flags:  # known, and used in another way than it can be
        return ""
    plain = typed.partition("=")[0].lower().replace("_", "-")
    same = [flag for flag in flags if flag in (plain, f"--{plain.lstrip('-')}")]
    known = [flag for flag, others in _OTHER_NAMES.items() if flag in flags and plain in others.split()]
    for flag in (*same, *known):
        return f"It is {flag} here."
    metavars = [str(one.metavar) for one in command.params if one.param_type_name == "argument"]
    return f"{metavars[0]} goes without a flag." if plain in _INPUT and metavars else ""
