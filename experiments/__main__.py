"""Lists the programs: python -m experiments."""

from jax_resnet._cli import quiet_on_closed_pipe

PROGRAMS = {
    "training": {
        "cifar10": "trains a network on CIFAR-10",
        "cifar100": "trains a network on CIFAR-100",
        "mnist": "trains a network on MNIST",
        "imagenet": "trains a network on ImageNet or a folder of images",
        "minimal": "data to accuracy on one page, with the library alone",
    },
    "comparisons": {
        "compare": "trains several networks alike and reports how they compare",
        "degradation": "plain against residual networks of 20 and 56 layers",
        "resnext": "ResNeXt against ResNet at 50 and 101 layers",
        "report": "compares finished runs on one page",
        "results": "keeps finished runs, and writes the README's tables from them",
    },
    "trained networks": {
        "evaluate": "evaluates weights on a test set",
        "predict": "classifies images",
        "export": "writes a network as StableHLO, ONNX, a state_dict or a checkpoint",
        "publish": "adds a run's weights to those that the package ships",
    },
    "machines": {
        "launch": "runs a program as several processes of this machine",
        "scaling": "estimates the cost of communication over many devices",
        "bench": "times training steps beside PyTorch",
        "doctor": "says what works here, which checkpoints of a run are good, what a GPU does",
    },
}


def main() -> None:
    """Prints the list."""
    width = max(len(name) for programs in PROGRAMS.values() for name in programs)
    for title, programs in PROGRAMS.items():
        print(f"{title}:")
        for name, summary in programs.items():
            print(f"  python -m experiments.{name:<{width}}  {summary}")
    print("\nEach explains its flags with --help.")


if __name__ == "__main__":
    with quiet_on_closed_pipe():
        main()
