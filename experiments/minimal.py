"""Trains a residual network on CIFAR-10: data to accuracy on one page, with the library's public API alone.

    python -m experiments.minimal                    # resnet20, 4 epochs, a few minutes on two CPU cores
    python -m experiments.minimal --dataset digits   # no download, seconds; needs the extra [digits]

What a longer program adds, experiments.cifar10 has: a validation set, checkpoints, records, many devices.
"""

import argparse
import time

import jax
import jax.numpy as jnp

import jax_resnet
from jax_resnet import optim
from jax_resnet.data.augment import make_augment, normalize
from jax_resnet.train import create_state, make_eval_step, make_train_step

parser = argparse.ArgumentParser(description="Trains a residual network: data to accuracy on one page.")
parser.add_argument("--arch", default="resnet20", help="name of a network")
parser.add_argument("--dataset", default="cifar10", help="cifar10, cifar100, mnist or digits")
parser.add_argument("--data-dir", help="where data sets are kept (default: TFDS's folder)")
parser.add_argument("--epochs", type=int, default=4, help="passes over the training images")
parser.add_argument("--batch-size", type=int, default=128, help="images per step")
parser.add_argument("--learning-rate", type=float, default=0.4, help="peak learning rate")
parser.add_argument("--seed", type=int, default=0, help="seed of initial weights, order and augmentation")


def main(argv: list[str] | None = None) -> float:
    """Trains and tests; returns the test accuracy, 0 to 1."""
    args = parser.parse_args(argv)

    # 1. Data: uint8 images (N, height, width, channels) and int32 labels (N,), all in memory.
    dataset = jax_resnet.data.load(args.dataset, data_dir=args.data_dir)
    if not 1 <= args.batch_size <= len(dataset.train) or args.epochs < 1:
        parser.error(f"--batch-size is 1 to {len(dataset.train)}, --epochs at least 1")
    steps_per_epoch = len(dataset.train) // args.batch_size
    total_steps = args.epochs * steps_per_epoch

    # 2. The network, a pure function of its variables: {"params", "batch_stats"}.
    model = jax_resnet.create_model(args.arch, num_classes=dataset.num_classes)

    # 3. The optimizer: SGD as PyTorch defines it, at a learning rate that rises, then falls to zero.
    schedule = optim.one_cycle(args.learning_rate, total_steps)
    tx = optim.sgd(schedule, momentum=0.9, nesterov=True, weight_decay=5e-4)

    # 4. Everything that training changes is in one pytree.
    state = create_state(model, tx, jax.random.key(args.seed), dataset.train.image_shape)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    print(f"{args.arch}: {parameters:,} parameters; {total_steps} steps of {args.batch_size} images")

    # 5. Two steps, pure functions, compiled here: (state, batch) -> (state, metrics).
    augment = make_augment(dataset.mean, dataset.std, crop_padding=2, flip=args.dataset.startswith("cifar"))
    train_step = jax.jit(make_train_step(model, tx, augment, label_smoothing=0.1), donate_argnums=0)
    eval_step = jax.jit(make_eval_step(model, lambda images: normalize(images, dataset.mean, dataset.std)))

    # 6. Training: shuffled batches without end, as many of them as there are steps.
    batches = dataset.train.train_batches(args.batch_size, seed=args.seed)
    start = time.perf_counter()
    for step in range(1, total_steps + 1):
        state, metrics = train_step(state, next(batches))
        if step % 50 == 0 or step == total_steps:
            loss = metrics["loss"] / metrics["count"]  # metrics are sums beside their count
            accuracy = metrics["correct"] / metrics["count"]
            print(f"step {step}/{total_steps}  loss {loss:.3f}  accuracy {accuracy:.1%}", flush=True)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - start

    # 7. The test set, each image once: the last batch is padded, and its padding masked.
    sums = jnp.zeros(2)
    for batch in dataset.test.eval_batches(min(500, len(dataset.test))):
        _, metrics = eval_step(state.variables, batch)
        sums += jnp.stack([metrics["correct"], metrics["count"]])
    accuracy = float(sums[0] / sums[1])
    print(f"test accuracy {accuracy:.2%} after {seconds:.0f} s of training")
    return accuracy


if __name__ == "__main__":
    try:
        main()
    except (jax_resnet.errors.JaxResnetError, ImportError) as error:  # what a user can act on
        parser.error(str(error))
