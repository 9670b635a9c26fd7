"""Padding."""

from nbgrad.testing.cases import case

#: shape, padding
PADS = [
    ((3,), (1, 2)), ((2, 3), (1, 0)), ((2, 3), (1, 2, 0, 3)), ((2, 3, 4), (0, 0, 1, 1)), ((2, 3), ()),
    ((2, 3, 4), (-1, 2)), ((2, 3, 4), (-1, -2, 1, -1)), ((0, 3), (1, 1)), ((2, 0), (1, 2)), ((), ()),
    ((1, 2, 3, 4), (1, 1, 1, 1, 1, 1, 1, 1)), ((63,), (-31, -32)), ((2, 3), (0, -3)),
]
OWN = [
    ((2, 5), (2, 1)), ((2, 3, 5), (1, 4)), ((1, 2, 5, 4), (1, 2, 3, 0)), ((2, 5, 4), (2, 2, 1, 1)),
    ((1, 2, 3, 4, 5), (1, 1, 2, 0, 1, 1)), ((2, 3, 2, 2), (1, 1, 0, 0, 1, 2)), ((2, 5), (0, 0)),
    ((1, 1, 63), (62, 7)), ((0, 2, 5), (1, 2)),
]
CUT = [((2, 1, 5), (-1, 2)), ((2, 5), (2, -2)), ((2, 5), (-2, -2)), ((1, 2, 5, 4), (-1, 2, 1, -3))]

CASES = [
    *(case(f"F.pad(a, {pads})", shape) for shape, pads in PADS),
    *(case(f"F.pad(a, {pads}, value=1.5)", shape) for shape, pads in PADS[:6]),
    *(case(f"F.pad(a, {pads}, mode='{mode}')", shape) for shape, pads in OWN
      for mode in ("reflect", "replicate", "circular") if (shape, mode) != ((2, 3, 2, 2), "reflect")),
    *(case(f"F.pad(a, {pads}, mode='{mode}')", shape) for shape,
        pads in CUT for mode in ("reflect", "circular")),
    case("F.pad(a, (1, 5), mode='replicate')", (2, 1)),
    case("F.pad(a, (3, 3), mode='circular')", (2, 3)),
    case("F.pad(a, (-2, -2), mode='circular')", (2, 4)),
    case("F.pad(input=a, pad=[1, 1], mode='constant', value=None)", (2,)),
    case("F.pad(a, (1, 1), 'constant', float('-inf'))", (2, 2)),
    case("torch.constant_pad_nd(a, (1, 2), 3)", (2, 2)),
    case("nn.ReflectionPad1d(2)(a)", (2, 3, 4)),
    case("nn.ReflectionPad2d((1, 0, 2, 1))(a)", (1, 2, 3, 4)),
    case("nn.ReflectionPad3d(1)(a)", (1, 2, 3, 2, 4)), case("nn.ReplicationPad1d((3, 1))(a)", (2, 4)),
    case("nn.ReplicationPad2d(1)(a)", (1, 2, 3, 4)),
    case("nn.ReplicationPad3d((1, 2, 0, 1, 3, 0))(a)", (1, 2, 3, 2, 4)),
    case("nn.ZeroPad1d(1)(a)", (2, 3)), case("nn.ZeroPad2d((1, -1, 2, 0))(a)", (2, 3, 4)),
    case("nn.ZeroPad3d(1)(a)", (1, 2, 2, 2)),
    case("nn.CircularPad1d(2)(a)", (1, 2, 4)), case("nn.CircularPad2d((1, 1, 0, 2))(a)", (2, 3, 4)),
    case("nn.CircularPad3d(1)(a)", (1, 2, 2, 3, 2)), case("nn.ConstantPad1d(1, 0.5)(a)", (2, 3)),
    case("nn.ConstantPad2d((1, 0, 0, 2), -1.5)(a)", (2, 3)),
    case("nn.ConstantPad3d(padding=1, value=2.0)(a)", (1, 2, 2, 3)),
    case("repr(nn.ReflectionPad2d(1)), repr(nn.ConstantPad1d(2, 3.5))"),
    case("repr(nn.ZeroPad2d((1, 2, 3, 4)))"),
    case("repr(nn.CircularPad3d(2)), repr(nn.ReplicationPad1d((1, 2))), nn.ZeroPad1d(3).padding"),
    case("nn.Softmax2d()(a)", (2, 3, 4, 2)), case("nn.Softmax2d()(a)", (3, 4, 2)),
    case("nn.Softmin(dim=1)(a)", (2, 3)),
    case("nn.Softmin(-1)(a)", (1, 3)), case("nn.GLU()(a)", (2, 4)), case("nn.GLU(dim=0)(a)", (2, 3)),
    case("nn.GLU()(a)", (63, 2)),
    case("repr(nn.Softmin(1)), repr(nn.GLU()), repr(nn.Softmax2d())"),
    case("repr(nn.Dropout2d(0.3)), repr(nn.AlphaDropout())"),
    case("nn.RMSNorm(4)(a)", (2, 4)),
    case("nn.RMSNorm((3, 4), eps=1e-3, elementwise_affine=False)(a)", (2, 3, 4)),
    case("repr(nn.RMSNorm(4)), list(nn.RMSNorm((2, 3)).state_dict())"),
]

ERRORS = [
    *(case(f"F.pad(a, {rest})", (2, 3, 4)) for rest in (
        "(1,)", "(1, 1) * 4", "(-3, -2)", "(-5, 9)", "(1, 1), mode='mirror'",
        "(4, 0), mode='reflect'", "(0, 4), mode='reflect'",
        "(5, 0), mode='circular'", "(1, 1), mode='reflect', value=1", "(1, 1) * 3, mode='replicate'",
        "(1, 1, 1), mode='reflect'",
        "(1.5, 1)", "1", "'a'", "(1, 1), value='a'", "(), mode='circular'",
        "(1, 1), mode='replicate', value=2",
        "(-2, -2), mode='reflect'", "(-5, 0), mode='circular'", "(3, 0, 3, 0), mode='reflect'")),
    case("F.pad(2, (1, 1))"), case("F.pad(a, (1, 1), mode='reflect')", (3,)),
    case("F.pad(a, (1, 1), mode='reflect')", (2, 0)),
    case("F.pad(a, (1, 1), mode='replicate')", (2, 3, 4, 5)),
    case("F.pad(a, (1, 1), mode='circular')", (2, 0)),
    case("torch.constant_pad_nd(a, (1,))", (3,)), case("torch.constant_pad_nd(a, (1, 1), 'a')", (3,)),
    case("torch.constant_pad_nd(2, (1, 1))"),
    case("nn.ReflectionPad1d(2)(a)", (3,)), case("nn.ReflectionPad2d(1)(a)", (2, 3)),
    case("nn.ReplicationPad2d(1)(a)", (2, 3)),
    case("nn.CircularPad1d(1)(a)", (2,)), case("nn.CircularPad2d(1)(a)", (2, 3)),
    case("nn.ReplicationPad3d(1)(a)", (2, 3)),
    case("nn.ReflectionPad3d(1)(a)", (2, 3)), case("nn.ReflectionPad1d((1, 1, 1))(a)", (2, 3)),
    case("nn.ConstantPad1d(1)"),
    case("nn.Softmax2d()(a)", (2, 3)), case("nn.GLU()(a)", (2, 3)), case("nn.GLU(5)(a)", (2, 4)),
    case("nn.RMSNorm(4)(a)", (2, 3)),
]
