# Trains models with the real libraries and exports them, for test/circuits/model-exports.slow.test.ts:
#   exports.py TRAIN.csv TEST.csv OUT
# The tables are those of `vouch data features`. Writes OUT/<name>.onnx and OUT/<name>.json, the classes that the library
# itself predicts for the rows of TEST.csv, and prints a line for each: its name, or `skip <name>: <why>`.
import csv
import json
import sys

train, test, out = sys.argv[1:4]


def table(name):
    with open(name, newline="") as file:
        rows = list(csv.reader(file))[1:]
    return [[float(x) for x in row[:-1]] for row in rows], [int(row[-1]) for row in rows]


def put(name, model, predicted):
    with open(f"{out}/{name}.onnx", "wb") as file:
        file.write(model)
    with open(f"{out}/{name}.json", "w") as file:
        json.dump([int(each) for each in predicted], file)
    print(name)


def attempt(name, make):
    try:
        make(name)
    except ImportError as error:
        print(f"skip {name}: {error}")


x, y = table(train)
tests, _ = table(test)


def sklearn_linear(name):
    # The shape that skl2onnx gives a LogisticRegression, put together by hand: Debian has no skl2onnx.
    from onnx import TensorProto, helper
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=2000).fit(x, y)
    w, b = model.coef_[0], model.intercept_[0]
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["X"],
            ["label", "scores"],
            domain="ai.onnx.ml",
            classlabels_ints=[0, 1],
            coefficients=[float(-c) for c in w] + [float(c) for c in w],
            intercepts=[float(-b), float(b)],
            multi_class=1,
            post_transform="LOGISTIC",
        ),
        helper.make_node("Normalizer", ["scores"], ["normalised"], domain="ai.onnx.ml", norm="L1"),
        helper.make_node(
            "ZipMap", ["normalised"], ["probabilities"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]
        ),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "logistic",
        [value("X", TensorProto.FLOAT, [None, len(w)])],
        [value("label", TensorProto.INT64, [None]), value("probabilities", TensorProto.FLOAT, [None, 2])],
    )
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 2)]
    put(name, helper.make_model(graph, opset_imports=opsets).SerializeToString(), model.predict(tests))


def sklearn_mlp(name):
    from onnx import TensorProto, helper, numpy_helper
    import numpy
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier((12,), max_iter=300, random_state=1).fit(x, y)
    weights = [
        numpy_helper.from_array(numpy.asarray(each, dtype=numpy.float32), f"{kind}{i}")
        for kind, list_ in (("w", model.coefs_), ("b", model.intercepts_))
        for i, each in enumerate(list_)
    ]
    nodes = [
        helper.make_node("Cast", ["X"], ["c"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["c", "w0"], ["m0"]),
        helper.make_node("Add", ["m0", "b0"], ["a0"]),
        helper.make_node("Relu", ["a0"], ["r0"]),
        helper.make_node("MatMul", ["r0", "w1"], ["m1"]),
        helper.make_node("Add", ["m1", "b1"], ["a1"]),
        helper.make_node("Sigmoid", ["a1"], ["p"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "mlp",
        [value("X", TensorProto.INT64, [None, len(x[0])])],
        [value("p", TensorProto.FLOAT, [None, 1])],
        weights,
    )
    model_ = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)])
    put(name, model_.SerializeToString(), model.predict(tests))


def skl2onnx(name):
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    import numpy

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(x, y)
    made = to_onnx(model, numpy.asarray(x[:1], dtype=numpy.float32))
    put(name, made.SerializeToString(), model.predict(tests))


def xgboost(name):
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType
    from xgboost import XGBClassifier
    import numpy

    model = XGBClassifier(n_estimators=20, max_depth=3).fit(numpy.asarray(x), numpy.asarray(y))
    made = convert_xgboost(model, initial_types=[("X", FloatTensorType([None, len(x[0])]))])
    put(name, made.SerializeToString(), model.predict(numpy.asarray(tests)))


def torch_batch_norm(name):
    import io
    import torch

    torch.manual_seed(1)
    layers = torch.nn
    model = layers.Sequential(
        layers.Linear(len(x[0]), 12), layers.BatchNorm1d(12), layers.ReLU(), layers.Linear(12, 2)
    )
    rows, right = torch.tensor(x), torch.tensor(y)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        layers.functional.cross_entropy(model(rows), right).backward()
        optimiser.step()
    model.eval()
    file = io.BytesIO()
    torch.onnx.export(
        model, rows[:1], file, input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "n"}, "y": {0: "n"}}
    )
    put(name, file.getvalue(), model(torch.tensor(tests)).argmax(1).tolist())


for make in (sklearn_linear, sklearn_mlp, skl2onnx, xgboost, torch_batch_norm):
    attempt(make.__name__, make)
