"""The encoder-decoder transformer (Vaswani et al. 2017) with positions and queries added at every layer."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class EncoderLayer(nn.Module):
    """Self-attention over the cells of the image, then a two-layer network, each with a residual connection.

    `pre_norm` normalises the input of a block instead of its sum with the residual.
    """

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, cells: Tensor, positions: Tensor, padding: Tensor | None) -> Tensor:
        """Return cells (B, N, width), given cells and positions (B, N, width) and padding (B, N), True = none there."""
        if self.pre_norm:
            cells = cells + self._attend(self.norm1(cells), positions, padding)
            return cells + self._feed_forward(self.norm2(cells))
        cells = self.norm1(cells + self._attend(cells, positions, padding))
        normed: Tensor = self.norm2(cells + self._feed_forward(cells))
        return normed

    def _attend(self, cells: Tensor, positions: Tensor, padding: Tensor | None) -> Tensor:
        placed = cells + positions
        attended, _ = self.self_attn(placed, placed, cells, key_padding_mask=padding, need_weights=False)
        dropped: Tensor = self.dropout(attended)
        return dropped

    def _feed_forward(self, cells: Tensor) -> Tensor:
        dropped: Tensor = self.dropout(self.linear2(self.dropout(F.relu(self.linear1(cells)))))
        return dropped


class DecoderLayer(nn.Module):
    """Self-attention among the queries, cross-attention from the queries to the image, then a two-layer network."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.self_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.multihead_attn = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.linear1 = nn.Linear(width, feedforward)
        self.linear2 = nn.Linear(feedforward, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, target: Tensor, queries: Tensor, memory: Tensor, placed: Tensor, padding: Tensor | None
    ) -> Tensor:
        """Return the decoded target (B, Q, width).

        Parameters
        ----------
        target
            (B, Q, width), what the queries have found so far.
        queries
            (B, Q, width), what each query looks for.
        memory
            (B, N, width), the encoded image.
        placed
            (B, N, width), the encoded image plus its positions.
        padding
            (B, N), True where there is no image.
        """
        if self.pre_norm:
            target = target + self._attend_to_queries(self.norm1(target), queries)
            target = target + self._attend_to_image(self.norm2(target), queries, memory, placed, padding)
            return target + self._feed_forward(self.norm3(target))
        target = self.norm1(target + self._attend_to_queries(target, queries))
        target = self.norm2(target + self._attend_to_image(target, queries, memory, placed, padding))
        normed: Tensor = self.norm3(target + self._feed_forward(target))
        return normed

    def _attend_to_queries(self, target: Tensor, queries: Tensor) -> Tensor:
        asking = target + queries
        attended, _ = self.self_attn(asking, asking, target, need_weights=False)
        dropped: Tensor = self.dropout(attended)
        return dropped

    def _attend_to_image(
        self, target: Tensor, queries: Tensor, memory: Tensor, placed: Tensor, padding: Tensor | None
    ) -> Tensor:
        attended, _ = self.multihead_attn(
            target + queries, placed, memory, key_padding_mask=padding, need_weights=False
        )
        dropped: Tensor = self.dropout(attended)
        return dropped

    def _feed_forward(self, target: Tensor) -> Tensor:
        dropped: Tensor = self.dropout(self.linear2(self.dropout(F.relu(self.linear1(target)))))
        return dropped


class Encoder(nn.Module):
    """A stack of encoder layers; a final norm only where the layers leave their sums unnormalised (pre-norm)."""

    def __init__(self, layers: int, width: int, heads: int, feedforward: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(width, heads, feedforward, dropout, pre_norm) for _ in range(layers))
        self.norm = nn.LayerNorm(width) if pre_norm else None

    def forward(self, cells: Tensor, positions: Tensor, padding: Tensor | None) -> Tensor:
        """Return the encoded image (B, N, width)."""
        for layer in self.layers:
            cells = layer(cells, positions, padding)
        return cells if self.norm is None else self.norm(cells)


class Decoder(nn.Module):
    """A stack of decoder layers; every layer's output goes through the same final norm."""

    def __init__(self, layers: int, width: int, heads: int, feedforward: int, dropout: float, pre_norm: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(width, heads, feedforward, dropout, pre_norm) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, queries: Tensor, memory: Tensor, positions: Tensor, padding: Tensor | None) -> Tensor:
        """Return what every layer found, (layers, B, Q, width), for queries (B, Q, width)."""
        placed = memory + positions
        target = torch.zeros_like(queries)
        found = []
        for layer in self.layers:
            target = layer(target, queries, memory, placed, padding)
            found.append(self.norm(target))
        return torch.stack(found)


class Transformer(nn.Module):
    """Encoder and decoder with Xavier's initialisation (Glorot & Bengio 2010).

    Parameters
    ----------
    width
        Channels of a cell and of a query.
    heads
        Attention heads; `width` is a multiple of it.
    encoder_layers, decoder_layers
        Depth of either stack.
    feedforward
        Hidden width of the two-layer networks.
    dropout
        Probability of dropping an attention weight or an activation in training.
    pre_norm
        Normalise the input of each block instead of its output.
    """

    def __init__(
        self,
        width: int = 256,
        heads: int = 8,
        encoder_layers: int = 6,
        decoder_layers: int = 6,
        feedforward: int = 2048,
        dropout: float = 0.1,
        pre_norm: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(encoder_layers, width, heads, feedforward, dropout, pre_norm)
        self.decoder = Decoder(decoder_layers, width, heads, feedforward, dropout, pre_norm)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
        self, cells: Tensor, positions: Tensor, queries: Tensor, padding: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Let the queries look at the image.

        Parameters
        ----------
        cells
            (B, N, width), the image as a sequence of cells.
        positions
            (B, N, width), where each cell lies.
        queries
            (Q, width), the same for every image.
        padding
            (B, N), True where there is no image; None if it is everywhere.

        Returns
        -------
        found : torch.Tensor
            (decoder layers, B, Q, width).
        memory : torch.Tensor
            (B, N, width), the encoded image.
        """
        memory = self.encoder(cells, positions, padding)
        found = self.decoder(queries.expand(len(cells), -1, -1), memory, positions, padding)
        return found, memory
