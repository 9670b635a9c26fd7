"""Images resized and read at places; pixels and channels in another order; norms by neighbours."""

import numpy as np

from nbgrad.testing.cases import case, distinct, ints, uniform

SMOOTH = ("linear", "bilinear", "bicubic", "trilinear")
SHAPES = {3: (2, 3, 5), 4: (2, 3, 5, 4), 5: (1, 2, 3, 5, 4)}
RANKS = {"linear": (3,), "bilinear": (4,), "bicubic": (4,), "trilinear": (5,)}


def resized():
    """Every mode with sizes that grow, shrink and stay, and with factors."""
    for mode in (*SMOOTH, "nearest", "nearest-exact", "area"):
        for rank in RANKS.get(mode, (3, 4, 5)):
            n = SHAPES[rank][2:]
            how = [f"size={tuple(2 * k + 1 for k in n)}", f"size={tuple(max(k // 2, 1) for k in n)}",
                   "size=1", f"size={n}", "scale_factor=2", "scale_factor=1.7"]
            how += ["scale_factor=0.7", "scale_factor=1.7, recompute_scale_factor=True"]
            how += ["size=7, align_corners=True", "scale_factor=1.7, align_corners=True",
                    "size=1, align_corners=True"] if mode in SMOOTH else []
            for options in how:
                # PyTorch has uint8 for some of the modes and ranks
                yield case(f"F.interpolate(a, mode='{mode}', {options})", SHAPES[rank],
                           dtypes=mode not in SMOOTH and rank == 4 and mode != "area")


CASES = [*resized()]
CASES += [case(f"F.interpolate(a, size={size}, mode='{mode}', antialias=True)", (2, 3, 9, 7),
               dtypes=False)
          for mode in ("bilinear", "bicubic") for size in ((4, 3), (13, 2), (9, 7), 1)]
CASES += [
    case("F.interpolate(a, 3)", (0, 3, 4)),
    case("F.interpolate(a, (3, 63))", (1, 1, 63, 2)),
    case("nn.Upsample(scale_factor=2, mode='bilinear')(a)", (1, 2, 3, 4), dtypes=False),
    case("nn.Upsample((5, 6))(a)", (1, 2, 3, 4)),
    case("nn.UpsamplingBilinear2d(scale_factor=2)(a)", (1, 2, 3, 4), dtypes=False),
    case("nn.UpsamplingNearest2d(size=5)(a)", (1, 2, 3, 4)),
    case("F.pixel_shuffle(a, 2)", (2, 8, 3, 5)),
    case("F.pixel_shuffle(a, 3)", (9, 1, 2)),
    case("torch.pixel_shuffle(a, 1)", (0, 2, 3, 3)),
    case("nn.PixelShuffle(2)(a)", (2, 3, 4, 2, 2)),
    case("F.pixel_unshuffle(a, 2)", (2, 3, 4, 6)),
    case("F.pixel_unshuffle(a, 3)", (1, 3, 9)),
    case("nn.PixelUnshuffle(2)(a)", (3, 1, 2, 4)),
    case("F.channel_shuffle(a, 3)", (2, 6, 4)),
    case("torch.channel_shuffle(a, 2)", (2, 4, 3, 5)),
    case("nn.ChannelShuffle(2)(a)", (1, 2, 3, 3)),
    # PyTorch averages int64 too, but no other integers
    case("F.local_response_norm(a, 2)", (2, 5, 4), dtypes=False),
    case("F.local_response_norm(a, 3, 0.1, 0.5, 2.0)", (2, 5, 4, 3), dtypes=False),
    case("F.local_response_norm(a, 9, 1.0)", (2, 5, 2, 2, 2), dtypes=False, strided=False),
    case("F.local_response_norm(a, 2)", (0, 5, 4)),
    case("nn.LocalResponseNorm(3)(a)", (2, 5, 4), dtypes=False),
    case("F.normalize(a)", (3, 4)),
    case("F.normalize(a, p=1, dim=0)", (3, 4), twice=False),
    case("F.normalize(a, 3.0, -1, 0.5)", (2, 3, 4)),
    case("F.normalize(a, dim=0)", (63,)),
    case("F.normalize(a, dim=1)", (0, 3)),
    case("F.cosine_similarity(a, b)", (3, 4), (3, 4)),
    case("F.cosine_similarity(a, b, dim=0, eps=0.5)", (3, 4), (3, 4)),
    case("torch.cosine_similarity(a, b, -1)", (2, 3, 4), (4,)),
    case("F.cosine_similarity(a, b, 0)", (63,), (63,)),
    case("nn.CosineSimilarity(0)(a, b)", (3, 4), (3, 4)),
    case("nn.PairwiseDistance(1, keepdim=True)(a, b)", (3, 4), (3, 4), twice=False),
    case("F.affine_grid(a, (2, 1, 3, 4), align_corners=False)", (2, 2, 3), dtypes=False),
    case("F.affine_grid(a, [2, 1, 3, 1], align_corners=True)", (2, 2, 3), dtypes=False),
    case("F.affine_grid(a, (1, 2, 3, 4, 5))", (1, 3, 4), dtypes=False),
]


def at(*shape):
    """Places inside and outside, none of them halfway between two entries."""
    return lambda random: random.uniform(-1.4, 1.4, shape)


CASES += [case(f"F.grid_sample(a, b{detached}, '{mode}', '{padding}', {align})", image, at(*grid),
               twice=False, dtypes=False)
          for image, grid in (((2, 3, 5, 4), (2, 3, 2, 2)), ((1, 2, 3, 4, 5), (1, 2, 3, 2, 3)),
                              ((1, 1, 1, 4), (1, 5, 1, 2)))
          for mode, detached in (("bilinear", ""), ("nearest", ".detach()"), ("bicubic", ""))
          for padding in ("zeros", "border", "reflection") for align in (True, False)
          if mode != "bicubic" or len(image) == 4]

# more places and channels than are taken at once
CASES += [case(f"F.grid_sample(a, b, '{mode}', align_corners=False)", (1, 9, 6, 5), at(1, 20, 31, 2),
               twice=False, dtypes=False) for mode in ("bilinear", "bicubic")]

CASES += [
    # PyTorch accepts integer and bool weights in some modes
    case("F.embedding_bag(b, a)", (5, 3), ints(4, 2), dtypes=False),
    case("F.embedding_bag(b, a, mode='sum')", (5, 3), ints(4, 2), dtypes=False),
    case("F.embedding_bag(b, a, mode='max')", distinct(5, 3), ints(4, 2), dtypes=False,
         twice=False),
    case("F.embedding_bag(b, a, torch.tensor([0, 2, 2, 5]))", (5, 3), ints(7), dtypes=False),
    case("F.embedding_bag(b, a, torch.tensor([0, 2, 5, 7]), include_last_offset=True, mode='sum')",
         (5, 3), ints(7), dtypes=False),
    case("F.embedding_bag(b, a, torch.tensor([0, 2, 2, 5]), mode='max')", distinct(5, 3),
         ints(7), dtypes=False, twice=False),
    case("F.embedding_bag(b, a, c, mode='sum', per_sample_weights=d)", (5, 3), ints(7),
         np.array([0, 3]), uniform(7), dtypes=False, twice=False),
    case("F.embedding_bag(b, a, per_sample_weights=c, mode='sum')", (5, 3), ints(4, 2), (4, 2),
         dtypes=False, twice=False),
    case("nn.EmbeddingBag(5, 3, mode='sum', padding_idx=2, _weight=a.detach())(b)", (5, 3),
         ints(4, 2), dtypes=False),
    case("F.embedding_bag(b, a, padding_idx=1)", (5, 3), ints(4, 2), dtypes=False),
    case("F.embedding_bag(b, a, padding_idx=-1, mode='sum')", (5, 3), ints(4, 6), dtypes=False),
    case("F.embedding_bag(b, a)", (5, 3), ints(0, 2), dtypes=False),
    case("F.group_norm(a, 2)", (3, 4, 5), dtypes=False),
    case("F.group_norm(a, 2, b, c, 0.1)", (3, 4), (4,), (4,), dtypes=False),
    case("F.group_norm(a, 4, b)", (2, 4, 2, 3), (4,), dtypes=False),
    case("F.instance_norm(a)", (3, 4, 5), dtypes=False),
    case("F.instance_norm(a, None, None, b, c, eps=0.1)", (2, 3, 4, 5), (3,), (3,), dtypes=False),
    case("F.instance_norm(a, b.detach(), c.detach(), use_input_stats=False)", (2, 3, 4), (3,),
         uniform(3, low=0.5), dtypes=False),
    case("F.rms_norm(a, (4,))", (3, 4), dtypes=False),
    case("F.rms_norm(a, (3, 4), b, 0.1)", (2, 3, 4), (3, 4), dtypes=False),
    case("torch.rms_norm(a, [63])", (63,), dtypes=False),
]

ERRORS = [
    case("F.interpolate(a, size=3, scale_factor=2)", (1, 3, 4)),
    case("F.interpolate(a)", (1, 3, 4)),
    case("F.interpolate(a, 3)", (3, 4)),
    case("F.interpolate(a, (3, 4))", (1, 3, 4)),
    case("F.interpolate(a, scale_factor=(2, 2))", (1, 3, 4)),
    case("F.interpolate(a, 3, mode='bilinear')", (1, 3, 4)),
    case("F.interpolate(a, 3, mode='linear')", (1, 3, 4, 4)),
    case("F.interpolate(a, 3, mode='trilinear')", (1, 3, 4, 4)),
    case("F.interpolate(a, 3, mode='x')", (1, 3, 4)),
    case("F.interpolate(a, 3, align_corners=True)", (1, 3, 4)),
    case("F.interpolate(a, 3, recompute_scale_factor=True)", (1, 3, 4)),
    case("F.interpolate(a, scale_factor=0.1)", (1, 3, 4)),
    case("F.interpolate(a, 0)", (1, 3, 4)),
    case("F.interpolate(a, 3, antialias=True)", (1, 3, 4)),
    case("F.interpolate(a, 3)", (1, 0, 4)),
    case("F.interpolate(a, 3)", (1, 3, 0)),
    case("F.interpolate(a, 2.5)", (1, 3, 4)),
    case("F.interpolate(a, [3.0])", (1, 3, 4)),
    case("F.interpolate(a, 3, mode='bilinear')", ints(1, 3, 4, 4)),
    case("F.interpolate(a, 3)", ints(1, 3, 4, 4)),
    case("F.pixel_shuffle(a, 2)", (3, 4)),
    case("F.pixel_shuffle(a, 3)", (4, 3, 4)),
    case("F.pixel_shuffle(a, 0)", (4, 3, 4)),
    case("F.pixel_unshuffle(a, 2)", (3, 4)),
    case("F.pixel_unshuffle(a, 2)", (1, 3, 4)),
    case("F.pixel_unshuffle(a, 0)", (1, 3, 4)),
    case("F.channel_shuffle(a, 2)", (1, 3, 4)),
    case("F.channel_shuffle(a, 2)", (4, 3)),
    case("F.channel_shuffle(a, 0)", (1, 3, 4)),
    case("F.local_response_norm(a, 2)", (3, 4)),
    case("F.local_response_norm(a, 0)", (1, 3, 4)),
    case("F.local_response_norm(a.int(), 2)", (1, 3, 4)),
    case("F.normalize(a)", ints(3, 4)),
    case("F.normalize(a, dim=2)", (3, 4)),
    case("F.normalize(a)", (3,)),
    case("F.cosine_similarity(a, b, dim=2)", (3, 4), (3, 4)),
    case("F.cosine_similarity(a, b)", ints(3, 4), ints(3, 4)),
    case("F.cosine_similarity(a, b)", (3, 4), (3, 5)),
    case("F.affine_grid(a, (2, 1, 3, 4))", (2, 3, 3)),
    case("F.affine_grid(a, (2, 1, 3))", (2, 2, 3)),
    case("F.affine_grid(a, (2, 1, 3, 4))", ints(2, 2, 3)),
    case("F.affine_grid(a, (2, 1, 0, 4))", (2, 2, 3)),
    case("F.grid_sample(a, b, mode='x')", (1, 2, 3, 4), (1, 2, 2, 2)),
    case("F.grid_sample(a, b, padding_mode='x')", (1, 2, 3, 4), (1, 2, 2, 2)),
    case("F.grid_sample(a, b)", (1, 2, 3, 4), (2, 2, 2, 2)),
    case("F.grid_sample(a, b)", (1, 2, 3, 4), (1, 2, 2, 3)),
    case("F.grid_sample(a, b)", (1, 2, 3), (1, 2, 2)),
    case("F.grid_sample(a, b.float())", (1, 2, 3, 4), (1, 2, 2, 2)),
    case("F.grid_sample(a, b)", (1, 2, 0, 4), (1, 2, 2, 2)),
    case("F.grid_sample(a, b, 'bicubic')", (1, 2, 3, 4, 5), (1, 2, 2, 2, 3)),
    case("F.embedding_bag(b, a)", (5, 3), ints(4)),
    case("F.embedding_bag(b, a, mode='x')", (5, 3), ints(4, 2)),
    case("F.embedding_bag(b, a, torch.tensor([0, 1]))", (5, 3), ints(4, 2)),
    case("F.embedding_bag(b, a, torch.tensor([1, 2]))", (5, 3), ints(4)),
    case("F.embedding_bag(b, a, torch.tensor([0, 9]))", (5, 3), ints(4)),
    case("F.embedding_bag(b, a)", (5, 3), ints(4, 2, low=5, high=9)),
    case("F.embedding_bag(b, a, per_sample_weights=c)", (5, 3), ints(4, 2), (4, 2)),
    case("F.embedding_bag(b, a, per_sample_weights=c, mode='sum')", (5, 3), ints(4, 2), (4, 3)),
    case("F.embedding_bag(b, a, padding_idx=7)", (5, 3), ints(4, 2)),
    case("F.embedding_bag(a, a)", (5, 3)),
    case("F.group_norm(a, 3)", (3, 4, 5)),
    case("F.group_norm(a, 2, b)", (3, 4, 5), (3,)),
    case("F.group_norm(a, 2)", (4,)),
    case("F.instance_norm(a)", (3, 4, 1)),
    case("F.instance_norm(a, use_input_stats=False)", (3, 4, 2)),
    case("F.instance_norm(a, None, None, b)", (3, 4, 2), (3,)),
    case("F.rms_norm(a, (3,))", (3, 4)),
    case("F.rms_norm(a, 4)", (3, 4)),
    case("F.rms_norm(a, (4,), b)", (3, 4), (3,)),
]
