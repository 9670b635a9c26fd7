"""Recurrent networks, and sequences of unlike lengths."""

import numpy as np

from nbgrad.testing.cases import case

#: A module whose parameters are numbers that both libraries agree on.
SAME = ("(lambda m: ([p.data.copy_(torch.arange(p.numel(), dtype=torch.float64).cos()"
        ".reshape(p.shape) / 2) for p in m.parameters()], m)[1])")
FLAT = "(lambda y: [y[0], *(y[1] if isinstance(y[1], tuple) else [y[1]])])"


def made(module, call):
    return f"{FLAT}({SAME}(nn.{module}.double()){call})"


CASES = [case(made(f"{kind}(3, 4{options})", call), *shapes, dtypes=False, twice=not options)
         for kind, hidden in (("RNN", "b"), ("GRU", "b"), ("LSTM", "(b, c)"))
         for options, call, shapes in (
             ("", "(a)", ((5, 2, 3),)),
             ("", f"(a, {hidden})", ((5, 2, 3), (1, 2, 4), (1, 2, 4))),
             ("", f"(a, {hidden})", ((5, 3), (1, 4), (1, 4))),
             (", num_layers=2, bidirectional=True", f"(a, {hidden})",
              ((3, 2, 3), (4, 2, 4), (4, 2, 4))),
             (", 2, batch_first=True, bias=False", f"(a, {hidden})",
              ((2, 3, 3), (2, 2, 4), (2, 2, 4))),
             (", bidirectional=True", "(a)", ((4, 3),)),
             (", 3, dropout=0.5", ".eval()(a)", ((2, 1, 3),)),
         )]


def packed(module, call, lengths):
    """A module on packed sequences: its packed outputs, and the last states."""
    pack = f"rnn.pack_padded_sequence(a, {lengths}, enforce_sorted=False)"
    return (f"(lambda rnn: (lambda y: [y[0].data, *(y[1] if isinstance(y[1], tuple) else [y[1]])])"
            f"({SAME}(nn.{module}.double())({pack}{call})))(nn.utils.rnn)")


CASES += [case(packed(f"{kind}(3, 4{options})", call, lengths), *shapes, dtypes=False)
          for kind, hidden in (("RNN", "b"), ("GRU", "b"), ("LSTM", "(b, c)"))
          for options, call, lengths, shapes in (
              ("", "", [5, 5], ((5, 2, 3),)),
              ("", f", {hidden}", [2, 4, 1], ((4, 3, 3), (1, 3, 4), (1, 3, 4))),
              (", 2, bidirectional=True", f", {hidden}", [1, 3, 2, 3],
               ((3, 4, 3), (4, 4, 4), (4, 4, 4))),
          )]
CASES += [
    case(made("LSTM(3, 4, proj_size=2)", "(a)"), (5, 2, 3), dtypes=False),
    case(made("LSTM(3, 4, 2, False, bidirectional=True, proj_size=2)", "(a, (b, c))"),
         (3, 2, 3), (4, 2, 2), (4, 2, 4), dtypes=False, twice=False),
    case(packed("LSTM(3, 4, proj_size=2, bidirectional=True)", "", [2, 4, 1]), (4, 3, 3),
         dtypes=False),
    case("list(nn.LSTM(3, 4, 2, proj_size=2).state_dict())"),
    case("str(nn.LSTM(3, 4, 2, proj_size=2))"),
    case(made("GRU(3, 70)", "(a, b)"), (3, 17, 3), (1, 17, 70), dtypes=False),
    case(made("LSTM(3, 4)", "(a, (b, b))"), (3, 2, 3), (1, 2, 4), dtypes=False),
    case(made("LSTM(3, 4)", "(a, (b, b))"), (3, 0, 3), (1, 0, 4), dtypes=False, twice=False),
    case(made("GRU(3, 4)", "(a)"), (3, 0, 3), dtypes=False, twice=False),
    case(made("RNN(3, 4, nonlinearity='relu')", "(a)"), (5, 2, 3), dtypes=False),
    case(f"{SAME}(nn.RNNCell(3, 4).double())(a, b)", (2, 3), (2, 4), dtypes=False),
    case(f"{SAME}(nn.RNNCell(3, 4, False, 'relu').double())(a)", (2, 3), dtypes=False),
    case(f"{SAME}(nn.GRUCell(3, 4).double())(a, b)", (2, 3), (2, 4), dtypes=False),
    case(f"{SAME}(nn.GRUCell(3, 4).double())(a, b)", (3,), (4,), dtypes=False),
    case(f"{SAME}(nn.LSTMCell(3, 4).double())(a, (b, c))", (2, 3), (2, 4), (2, 4), dtypes=False),
    case(f"{SAME}(nn.LSTMCell(3, 4, bias=False).double())(a)", (0, 3), dtypes=False, twice=False),
    case("list(nn.LSTM(3, 4, 2, bidirectional=True).state_dict())"),
    case("[str(tuple(p.shape)) for p in nn.GRU(3, 4, 2, bidirectional=True).parameters()]"),
    case("list(nn.GRUCell(3, 4, bias=False).state_dict())"),
]

RNN = "nn.utils.rnn."
CASES += [
    case(f"list({RNN}pack_padded_sequence(a, [3, 2, 2]))[:2]", (4, 3, 2)),
    case(f"list({RNN}pack_padded_sequence(a, [1, 4, 2], True, False))", (3, 4)),
    case(f"list({RNN}pack_padded_sequence(a, torch.tensor([2, 2]), True))[:2]", (2, 3, 1, 2)),
    case(f"list({RNN}pad_packed_sequence({RNN}pack_padded_sequence(a, [3, 2, 2])))",
         (4, 3, 2)),
    case(f"list({RNN}pad_packed_sequence({RNN}pack_padded_sequence(a, [2, 4, 1], True, "
         "False), True, 7, 6))", (3, 4, 2)),
    case(f"list({RNN}pad_packed_sequence({RNN}PackedSequence(a, torch.tensor([2, 1]))))",
         (3, 2)),
    case(f"{RNN}pad_sequence([a, b, c])", (3, 2), (1, 2), (0, 2)),
    case(f"{RNN}pad_sequence((a, b), True, 2.5)", (3,), (5,)),
    case(f"{RNN}pad_sequence([a, b], padding_side='left')", (3, 2), (5, 2)),
    case(f"{RNN}pad_sequence(a, True, 1, 'left')", (3, 2)),
    case(f"list({RNN}pack_sequence([a, b], False))", (1, 2), (3, 2)),
    case(f"{RNN}unpack_sequence({RNN}pack_sequence([a, b], False))", (1, 2), (3, 2)),
    case(f"{RNN}unpad_sequence(a, torch.tensor([2, 0, 3]), True)", (3, 4, 2)),
    case(f"{RNN}invert_permutation(a)", np.array([2, 0, 1])),
    case(f"{RNN}pack_sequence([a]).double().data.dtype == torch.float64", (2, 2)),
    case(f"{RNN}pack_sequence([a]).to(torch.float32).data", (2, 2), differentiable=False),
]

ERRORS = [
    case(f"{RNN}pack_padded_sequence(a, [3, 4])", (4, 2)),
    case(f"{RNN}pack_padded_sequence(a, [4])", (4, 2)),
    case(f"{RNN}pack_padded_sequence(a, [4, 0])", (4, 2)),
    case(f"{RNN}pack_padded_sequence(a, [[3, 2]])", (4, 2)),
    case(f"{RNN}pack_padded_sequence(a, [2])", (0, 1)),
    case(f"{RNN}pad_packed_sequence({RNN}pack_sequence([a]), total_length=1)", (3, 2)),
    case(f"{RNN}pad_sequence([])"),
    case(f"{RNN}pad_sequence(3)"),
    case(f"{RNN}pad_sequence([a, b])", (2, 3), (2, 4)),
    case(f"{RNN}pad_sequence([a], padding_side='up')", (2, 3)),
    case(f"{RNN}pack_sequence([a, b])", (2, 3), (4, 3)),
    case(f"nn.GRU(3, 4)({RNN}pack_sequence([a]))", (2, 3)),
    case(f"nn.GRU(3, 4).double()({RNN}pack_sequence([a]))", (2, 4)),
    case(f"nn.GRU(3, 4).double()({RNN}pack_sequence([a]))", (2,)),
    case(f"nn.GRU(3, 4).double()({RNN}pack_sequence([a]), b)", (2, 3), (1, 4)),
    case(f"nn.GRU(3, 4).double()({RNN}pack_sequence([a]), b)", (2, 3), (1, 2, 4)),
    case("nn.LSTM(3, 4, proj_size=4)"),
    case("nn.LSTM(3, 4, proj_size=-1)"),
    case("nn.LSTM(3, 4, proj_size=2).double()(a, (b, b))", (5, 2, 3), (1, 2, 4)),
    case("nn.GRU(3, 4)(a)", (5, 2, 3)),
    case("nn.RNN(3, 4).double()(a.long())", (5, 2, 3)),
    case("nn.LSTM(3, 4)(a.float(), (b, b))", (5, 2, 3), (1, 2, 4)),
    case("nn.GRU(3, 4)(a.float(), b)", (5, 2, 3), (1, 2, 4)),
    case("nn.RNN(3, 4).double()(a)", (5, 2, 2)),
    case("nn.GRU(3, 4).double()(a)", (5,)),
    case("nn.LSTM(3, 4).double()(a)", (1, 1, 5, 3)),
    case("nn.RNN(3, 4).double()(a, b)", (5, 2, 3), (1, 4)),
    case("nn.RNN(3, 4).double()(a, b)", (5, 3), (1, 1, 4)),
    case("nn.GRU(3, 4).double()(a, b)", (5, 2, 3), (1, 2, 3)),
    case("nn.LSTM(3, 4).double()(a, (b, b))", (5, 2, 3), (2, 2, 4)),
    case("nn.RNN(3, 4).double()(a)", (0, 2, 3)),
    case("nn.RNN(3, 4, nonlinearity='x')"),
    case("nn.RNN(3, 0)"),
    case("nn.RNN(3, 4, 0)"),
    case("nn.RNN(3, 4.0)"),
    case("nn.RNN(3, 4, dropout=2)"),
    case("nn.RNNCell(3, 4).double()(a)", (2, 4)),
    case("nn.GRUCell(3, 4).double()(a)", (1, 2, 3)),
    case("nn.LSTMCell(3, 4).double()(a, (b, b))", (2, 3), (3, 4)),
]
