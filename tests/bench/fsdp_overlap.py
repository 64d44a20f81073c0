"""Communication hidden behind computation: Candor's sharded learner beside PyTorch FSDP2 over gloo, same model, batch, ranks and link.

usage: fsdp_overlap.py SOURCE_FOLDER MODEL [--pairs 5] [--steps 4] [--latency-ms 2] [--gbps 10] [--dtype fp32] [--build DIR]

Needs tools/setup.sh --parity. Runs the two in turn, PAIRS times, each with 2 ranks of one thread, and prints one JSON object: the median
step of each, their ratio pair by pair, and the share of communication that Candor hides.

The link is the same model on both sides (core/collective_delayed.h): a call has arrived latency_ms after its bytes went through a link of
gbps, one call after another, while the real transfer runs beneath it. FSDP2 gets it through its own interface for custom communication
(set_custom_all_gather, set_custom_reduce_scatter): whoever waits for the work sleeps until then. FSDP2 is given what it has for overlap on a
CPU: asynchronous all-gathers, the next layer prefetched in forward and backward, the root kept between them. Its reduce-scatters are waited
for at once, because without CUDA streams FSDP2 does so. Candor's small calls (votes, counts, norms) pay the latency too; FSDP2's do not.

The batch: 8 groups of 4 answers of 16 tokens to a prompt of 24, 2 groups in each micro-batch. Candor packs a group's answers behind one copy
of their prompt, FSDP2 gets the same 32 sequences of 40 tokens in as many micro-batches. AdamW and clipping of the norm on both sides."""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

RANKS, GROUPS, ANSWERS, ANSWER_TOKENS, PROMPT_TOKENS, MICRO_GROUPS = 2, 8, 4, 16, 24, 2


def candor_steps(args, folder):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}
    mpirun = ["mpirun", *(["--allow-run-as-root"] if os.geteuid() == 0 else []), "--oversubscribe", "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1"]
    command = [*mpirun, "-n", str(RANKS), str(args.build / "candor-torch"), "bench", "shard", args.model, "--device", "cpu", "--dtype", args.dtype,
               "--sharding", "zero3", "--rank-out", folder, "--steps", str(args.steps), "--latency-ms", str(args.latency_ms), "--gbps", str(args.gbps)]
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
    return json.loads((pathlib.Path(folder) / "result.json").read_text())


def fsdp_steps(args, folder):
    parity = args.source / ".deps" / "parity"
    workers = []
    for rank in range(RANKS):
        env = {**os.environ, "LD_LIBRARY_PATH": str(parity / "cuda_standins"), "OMP_NUM_THREADS": "1", "RANK": str(rank), "WORLD_SIZE": str(RANKS)}
        workers.append(subprocess.Popen([parity / "bin" / "python", __file__, *sys.argv[1:], "--worker", folder], env=env))
    if any(worker.wait() != 0 for worker in workers):
        sys.exit("an FSDP2 rank failed")
    return json.loads((pathlib.Path(folder) / "fsdp.json").read_text())


class Link:
    """The same link as core/collective_delayed.h."""

    def __init__(self, args):
        self.latency, self.rate, self.free, self.exposed, self.total = args.latency_ms / 1000, args.gbps * 1e9 / 8, 0.0, 0.0, 0.0

    def due(self, start, bytes_sent):
        busy = bytes_sent / self.rate if self.rate else 0.0
        self.free = max(self.free, start) + busy
        self.total += busy + self.latency
        return self.free + self.latency


class DelayedWork:
    def __init__(self, link, work, due):
        self.link, self.work, self.until = link, work, due

    def wait(self, *_):
        start = time.monotonic()
        self.work.wait()
        time.sleep(max(0.0, self.until - time.monotonic()))
        self.link.exposed += time.monotonic() - start
        return True


def delayed_comm(link):
    import torch
    import torch.distributed as dist
    from torch.distributed.fsdp._fully_shard._fsdp_api import AllGather, ReduceScatter

    class Allocates:
        def allocate(self, size, *, dtype, device):
            return torch.empty(*size, dtype=dtype, device=device)

        def finish(self, work, start, tensor, async_op):
            delayed = DelayedWork(link, work, link.due(start, tensor.numel() * tensor.element_size() * (RANKS - 1)))
            if async_op:
                return delayed
            delayed.wait()

    class Gather(Allocates, AllGather):
        def __call__(self, output_tensor, input_tensor, group, async_op=False):
            start = time.monotonic()
            return self.finish(dist.all_gather_into_tensor(output_tensor, input_tensor, group=group, async_op=True), start, input_tensor, async_op)

    class Scatter(Allocates, ReduceScatter):
        def __call__(self, output_tensor, input_tensor, group, op, async_op=False):
            start = time.monotonic()
            return self.finish(dist.reduce_scatter_tensor(output_tensor, input_tensor, op=op, group=group, async_op=True), start, output_tensor, async_op)

    return Gather(), Scatter()


def sharded_model(args, link):
    import torch
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa")
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32) if args.dtype == "bf16" else MixedPrecisionPolicy()
    layers = list(model.model.layers)
    for module in [*layers, model]:
        fully_shard(module, mp_policy=policy)
    for i, layer in enumerate(layers):
        layer.set_modules_to_forward_prefetch(layers[i + 1 : i + 2])
        layer.set_modules_to_backward_prefetch(layers[max(0, i - 1) : i])
    gather, scatter = delayed_comm(link)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_custom_all_gather(gather)
            module.set_custom_reduce_scatter(scatter)
    model._set_unshard_async_op(True)
    return model


def worker(args):
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    rank, link = int(os.environ["RANK"]), Link(args)
    store = dist.FileStore(f"{args.worker}/store", RANKS)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)
    model = sharded_model(args, link)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.01)
    tokens = torch.Generator().manual_seed(rank)
    vocab, seconds = model.config.vocab_size, []
    for step in range(args.steps):
        if step == 1:
            link.exposed = link.total = 0.0
        dist.barrier()
        start = time.monotonic()
        for _ in range(GROUPS // RANKS // MICRO_GROUPS):
            ids = torch.randint(0, vocab, (MICRO_GROUPS * ANSWERS, PROMPT_TOKENS + ANSWER_TOKENS), generator=tokens)
            logits = model(input_ids=ids, logits_to_keep=ANSWER_TOKENS + 1, use_cache=False).logits[:, :-1].float()
            torch.nn.functional.cross_entropy(logits.reshape(-1, vocab), ids[:, PROMPT_TOKENS:].reshape(-1)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.monotonic() - start)
    if rank == 0:
        steps = args.steps - 1
        result = {"step_seconds": statistics.median(seconds[1:]), "communication_seconds": link.total / steps, "exposed_seconds": link.exposed / steps}
        (pathlib.Path(args.worker) / "fsdp.json").write_text(json.dumps(result))
    dist.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("model")
    for name, default in (("pairs", 5), ("steps", 4)):
        parser.add_argument("--" + name, type=int, default=default)
    for name, default in (("latency-ms", 2.0), ("gbps", 10.0)):
        parser.add_argument("--" + name, type=float, default=default)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.build = args.build or args.source / "build" / "release"
    if args.worker:
        return worker(args)
    if not (args.source / ".deps" / "parity" / "bin" / "python").exists():
        print("no FSDP2 here: tools/setup.sh --parity gets it")
        return 77
    pairs = []
    for _ in range(args.pairs):
        with tempfile.TemporaryDirectory(prefix="candor-overlap-") as folder:
            pairs.append((candor_steps(args, folder), fsdp_steps(args, folder)))
    ours, theirs = zip(*pairs)
    median = lambda results, key: statistics.median(result[key] for result in results)
    ratios = sorted(b["step_seconds"] / a["step_seconds"] for a, b in pairs)
    print(json.dumps({
        "name": "overlap", "ranks": RANKS, "dtype": args.dtype, "latency_ms": args.latency_ms, "gbps": args.gbps, "pairs": args.pairs,
        "candor_step_seconds": median(ours, "step_seconds"), "fsdp2_step_seconds": median(theirs, "step_seconds"),
        "fsdp2_over_candor": statistics.median(ratios), "fsdp2_over_candor_range": [ratios[0], ratios[-1]],
        "candor_hidden_share": median(ours, "hidden_share"), "candor_communication_seconds": median(ours, "communication_seconds"),
        "fsdp2_communication_seconds": median(theirs, "communication_seconds"), "fsdp2_exposed_seconds": median(theirs, "exposed_seconds"),
    }))
    return 0


if __name__ == "__main__":
    sys.exit(main())
