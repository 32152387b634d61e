"""Keras's ResNet50 in PyTorch: the same graph, for peers to run.

The first version of ResNet: the stride is in the first 1x1 convolution of a stage, and
convolutions have biases. Weights are random; batch normalisation has statistics that no
compiler can drop.
"""

import torch
from torch import nn

_STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


class Block(nn.Module):
    """A residual block."""

    def __init__(self, channels, filters, stride, *, projected):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, filters, 1, stride),
            _norm(filters),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 3, padding=1),
            _norm(filters),
            nn.ReLU(),
            nn.Conv2d(filters, 4 * filters, 1),
            _norm(4 * filters),
        )
        self.shortcut = nn.Identity()
        if projected:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, 4 * filters, 1, stride), _norm(4 * filters)
            )

    def forward(self, values):
        """Returns the block's output."""
        return torch.relu(self.body(values) + self.shortcut(values))


def trunk(threads):
    """Returns the network up to the pooled features, batch normalisation still."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 64, 7, 2, 3), _norm(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for filters, blocks, stride in _STAGES:
        for number in range(blocks):
            first = number == 0
            layers.append(
                Block(channels, filters, stride if first else 1, projected=first)
            )
            channels = 4 * filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()


def classifier(threads, *, classes, hidden_units):
    """Returns the whole network, all of it trained but batch normalisation."""
    head = [nn.Linear(2048, hidden_units), nn.ReLU(), nn.Linear(hidden_units, classes)]
    model = nn.Sequential(trunk(threads), *head)
    return model.to(memory_format=torch.channels_last)


def _norm(filters):
    norm = nn.BatchNorm2d(filters)
    nn.init.normal_(norm.running_mean, 0, 0.1)
    nn.init.uniform_(norm.running_var, 0.5, 1.5)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias, 0, 0.1)
    return norm.requires_grad_(requires_grad=False)
