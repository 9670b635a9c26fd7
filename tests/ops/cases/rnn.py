"""Recurrent networks."""

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
CASES += [
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

ERRORS = [
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
