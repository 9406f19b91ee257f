"""How fast the dubbing model is at release size, against the original's decoding loop and against what the machine allows.

The weights are random: time does not depend on them. Bounds: a decoding step reads every weight of the backbone and the head
once, so it cannot be faster than their bytes over the memory bandwidth that a matrix-vector product of the same type reaches; the
flow cannot be faster than its multiplications over the rate of a matrix product of its shapes. Both are measured first.

    python benchmarks/dubbing.py --threads 2 --tokens 24 --dtype float32
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch

from cineforge_hf.modeling.cinedub import CineDubConfig, CineDubForConditionalGeneration
from cineforge_hf.modeling.cinedub.generation_cinedub import default_generation_config


@dataclass
class Result:
    """One measured number beside what it is compared with."""

    name: str
    value: float
    unit: str
    of_bound: float | None = None


def best(run: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest of some runs: the others were disturbed."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def random_model(device: torch.device, dtype: torch.dtype) -> CineDubForConditionalGeneration:
    """The released sizes with random weights, made without the slow default initialisation."""
    with torch.device("meta"):
        model = CineDubForConditionalGeneration(CineDubConfig())
    model = model.to(dtype).to_empty(device=device)
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data.uniform_(-0.03, 0.03)
    rotary = model.language_model.rotary_emb
    fresh = type(rotary)(config=model.config.text_config).to(device)
    rotary.inv_freq, rotary.original_inv_freq = fresh.inv_freq, fresh.original_inv_freq
    model.generation_config = default_generation_config(model.config)
    return model.eval()


def bandwidth(device: torch.device, dtype: torch.dtype) -> float:
    """Bytes per second that a matrix-vector product reads from memory, over matrices far larger than any cache."""
    matrices = [torch.ones(4864, 4 * 896, device=device, dtype=dtype) for _ in range(16)]
    vector = torch.ones(4 * 896, device=device, dtype=dtype)
    seconds = best(lambda: [m @ vector for m in matrices], 5)
    return sum(m.numel() * m.element_size() for m in matrices) / seconds


def matrix_rate(device: torch.device, dtype: torch.dtype, rows: int) -> float:
    """Floating-point operations per second of a linear layer of the flow's shape."""
    left, right = torch.ones(rows, 1024, device=device, dtype=dtype), torch.ones(2048, 1024, device=device, dtype=dtype)
    seconds = best(lambda: [torch.nn.functional.linear(left, right) for _ in range(8)], 5)
    return 8 * 2 * rows * 1024 * 2048 / seconds


def original_loop(model: CineDubForConditionalGeneration, embeds: torch.Tensor, tokens: int) -> None:
    """The original's decoding: one record, scores of the whole prompt, all hidden states, a full sort and a loop per token."""
    cache, generated = None, []
    for _ in range(tokens):
        output = model.language_model(inputs_embeds=embeds, past_key_values=cache, use_cache=True, output_hidden_states=True)
        cache = output.past_key_values
        scores = model.codec_head(output.hidden_states[-1]).float().log_softmax(-1)[0, -1]
        values, order = scores.softmax(0).sort(descending=True, stable=True)
        kept, ids, mass = [], [], 0.0
        for i in range(len(order)):
            if mass >= 0.8 or len(kept) == 25:
                break
            mass += values[i]
            kept.append(values[i])
            ids.append(order[i])
        chosen = ids[int(torch.stack(kept).multinomial(1, replacement=True))]
        if sum(int(chosen) == token for token in generated[-10:]) >= 1:
            chosen = scores.softmax(0).multinomial(1, replacement=True)[0]
        generated.append(int(chosen))
        embeds = model.codec_embed(chosen.reshape(1, 1))


def measure_language_model(
    model: CineDubForConditionalGeneration, arguments: argparse.Namespace, device: torch.device, dtype: torch.dtype
) -> Iterator[Result]:
    """Decoding steps; times of two lengths are subtracted, so that the prompt does not count."""
    memory = bandwidth(device, dtype)
    read = [*model.language_model.layers.parameters(), *model.codec_head.parameters()]
    bound = sum(p.numel() * p.element_size() for p in read) / memory
    yield Result("memory bandwidth", memory / 1e9, "GB/s")
    yield Result("language model, bound", 1 / bound, "tokens/s")
    counts = (2, 2 + arguments.tokens)

    def prompts(batch: int) -> torch.Tensor:
        return torch.randn(batch, arguments.prompt, model.config.text_config.hidden_size, device=device, dtype=dtype)

    embeds = prompts(1)
    spans = [best(lambda c=c: original_loop(model, embeds, c), arguments.repeats) for c in counts]
    rate = arguments.tokens / (spans[1] - spans[0])
    yield Result("language model, original loop", rate, "tokens/s", rate * bound)
    for batch in arguments.batches:
        embeds, spans = prompts(batch), []
        mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=device)
        for count in counts:
            settings = {"min_new_tokens": count, "max_new_tokens": count, "seed": 0, "attention_mask": mask}
            spans.append(best(lambda s=settings, e=embeds: model.generate(inputs_embeds=e, **s), arguments.repeats))
        rate = batch * arguments.tokens / (spans[1] - spans[0])
        yield Result(f"language model, batch {batch}", rate, "tokens/s", rate / batch * bound)


def measure_audio(
    model: CineDubForConditionalGeneration, arguments: argparse.Namespace, device: torch.device, dtype: torch.dtype
) -> Iterator[Result]:
    """Flow and vocoder for one record."""
    seconds, flow = arguments.seconds, model.flow
    codes = torch.randint(6561, (1, 25 * seconds), device=device)
    lengths, voices = torch.tensor([codes.shape[1]], device=device), torch.randn(1, 1, 192, device=device)
    frames = 2 * codes.shape[1]
    linear = sum(p.numel() for n, p in flow.dit.named_parameters() if n.endswith("proj.weight") and "time_embed" not in n)
    convolutions = sum(conv.weight.numel() for conv in flow.dit.position.convs)
    attention = 2 * flow.config.num_hidden_layers * frames * flow.config.hidden_size
    operations = 2 * 2 * frames * flow.config.num_steps * (linear + convolutions + attention)
    bound = operations / matrix_rate(device, dtype, 2 * frames)
    flow_time = best(lambda: flow.sample(codes, lengths, voices), arguments.repeats)
    yield Result(f"flow, {seconds} s of speech", flow_time, "s", bound / flow_time)
    mel = flow.sample(codes, lengths, voices)
    yield Result(f"vocoder, {seconds} s of speech", best(lambda: model.vocoder(mel), arguments.repeats), "s")


@torch.no_grad()
def measure(arguments: argparse.Namespace) -> Iterator[Result]:
    """Runs everything."""
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    torch.set_num_threads(arguments.threads)
    model = random_model(device, dtype)
    factor = 0.0
    for result in measure_language_model(model, arguments, device, dtype):
        if result.name == f"language model, batch {arguments.batches[0]}":
            factor = 25 / result.value
        yield result
    for result in measure_audio(model, arguments, device, dtype):
        factor += result.value / arguments.seconds
        yield result
    yield Result(f"real-time factor, batch {arguments.batches[0]}", factor, "")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    yield Result("peak memory of the process", peak / 1e9, "GB")
    if device.type == "cuda":
        yield Result("peak memory of the accelerator", torch.cuda.max_memory_allocated() / 1e9, "GB")


def main() -> None:
    """Prints the numbers as a table, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--tokens", type=int, default=24, help="decoding steps that are timed")
    parser.add_argument("--prompt", type=int, default=200, help="positions of the prompt")
    parser.add_argument("--seconds", type=int, default=4, help="length of the speech for flow and vocoder")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.json:
        print(json.dumps([asdict(result) for result in measure(arguments)], indent=1))
        return
    print(f"{arguments.device}, {arguments.dtype}, {arguments.threads} threads, torch {torch.__version__}")
    for result in measure(arguments):
        share = "" if result.of_bound is None else f"{result.of_bound:7.0%} of the bound"
        print(f"{result.name:34} {result.value:9.2f} {result.unit:9}{share}", flush=True)


if __name__ == "__main__":
    main()
