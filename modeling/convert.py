"""One entrance to all conversions of published weights; what `cineforge convert` calls."""

from __future__ import annotations

from pathlib import Path

from cineforge_hf.errors import UsageError


def convert(source: str | Path, output: str | Path, *, revision: str | None = None) -> str:
    """Converts published weights to a transformers folder.

    Args:
        source: a Fun-CineForge or CosyVoice3 release, a folder or the id of a Hub repository; or the file of an S3 speech
            tokenizer v3, `speech_tokenizer_v3.onnx`.
        output: the folder to write; it must not exist or be empty.
        revision: commit, tag or branch of a Hub repository; required for one.

    Returns:
        What was done, in a few lines for people.

    Raises:
        UsageError: the source is no such release, or is damaged.
    """
    source_path, output = Path(source), Path(output)
    if source_path.is_file():
        if source_path.suffix not in (".onnx", ".pt"):
            raise UsageError(f"{source}: expected the folder of a release, or speech_tokenizer_v3.onnx")
        from cineforge_hf.modeling.speech_tokenizer.convert_speech_tokenizer import convert_speech_tokenizer

        convert_speech_tokenizer(source_path, output)
        return f"speech tokenizer: {output}"
    from cineforge_hf.modeling.cinedub.convert_cinedub import convert_release

    done = convert_release(source, output, revision=revision)
    lines = [f"dubbing model: {done.output}, {done.parameters / 1e6:,.1f} M parameters"]
    if done.revision is not None:
        lines.append(f"from {source} at {done.revision}, licence: {done.licence or 'not stated'}")
    if done.dropped:
        lines.append(f"not needed: {', '.join(done.dropped)}")
    if done.new:
        lines.append(f"not in the source, so random and to be trained: {', '.join(done.new)}")
    return "\n".join(lines)


__all__ = ["convert"]
