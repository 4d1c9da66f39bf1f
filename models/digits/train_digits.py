#!/usr/bin/env python3
"""Trains the small networks of this folder on scikit-learn's 8x8 digits and writes the data files that go with them.

    python3 -m venv venv && venv/bin/pip install torch onnx onnxruntime scikit-learn numpy
    venv/bin/python train_digits.py                        # digits.onnx, digits_calib.npz, digits_test.npz
    venv/bin/python train_digits.py --activation sigmoid   # digits_sigmoid.onnx
    venv/bin/python train_digits.py --activation tanh      # digits_tanh.onnx

One thread, less than a minute each. Everything is seeded: the same library versions on the same kind of processor give the
same files. The number of epochs is fixed and the test images are only looked at after training. PyTorch prints a warning about
its older exporter: that one is used because it leaves the batch-norms in the graph.

--out DIR writes somewhere else than beside this script; --seed N changes the initial weights and the order of training,
never the split of the images. --check leaves the existing files alone and only scores them with onnxruntime.
"""
import argparse, os
import numpy as np

SPLIT_SEED = 2024


def split():
    """1,797 images, uint8 0..255: 1,347 to train on, 300 of those to calibrate on, 450 to test on; each stratified."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    d = load_digits()
    x = np.rint(d.images * 255 / 16).astype(np.uint8)
    y = d.target.astype(np.uint8)
    x, xt, y, yt = train_test_split(x, y, test_size=450, stratify=y, random_state=SPLIT_SEED)
    _, xc, _, yc = train_test_split(x, y, test_size=300, stratify=y, random_state=SPLIT_SEED)
    return (x, y), (xc, yc), (xt, yt)


def build(activation):
    import torch.nn as nn

    def conv(i, o):
        return [nn.Conv2d(i, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o)]

    class Residual(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.body = nn.Sequential(*conv(c, c), nn.ReLU(), *conv(c, c))
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.body(x) + x)

    if activation == "relu":
        return nn.Sequential(
            *conv(1, 16), nn.ReLU(), Residual(16), nn.MaxPool2d(2),
            *conv(16, 32), nn.ReLU(), Residual(32),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))
    act = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh}[activation]
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1), act(), nn.AvgPool2d(2),
        nn.Conv2d(16, 24, 3, 1, 1), act(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(96, 48), act(), nn.Linear(48, 10))
    if activation == "sigmoid":
        # steeper start, centred on the mean input of 1/2: with the default weights a sigmoid net hardly learns
        for m in list(net)[3:]:
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_normal_(m.weight, 4.0)
                m.bias.data = -.5 * m.weight.data.flatten(1).sum(1)
    return net


def train(activation, x, y, seed, epochs):
    import torch, torch.nn.functional as F
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    net = build(activation)
    x = torch.from_numpy(x).float().unsqueeze(1) / 255
    y = torch.from_numpy(y).long()
    batch = 64
    per_epoch = len(x) // batch
    total = epochs * per_epoch
    opt = torch.optim.AdamW(net.parameters(), lr=1.0, weight_decay=1e-2 if activation == "relu" else 1e-4)
    peak = {"relu": 5e-3, "sigmoid": 3e-2, "tanh": 1e-2}[activation]
    sched = torch.optim.lr_scheduler.LambdaLR(
        opt, lambda k: peak * min((k + 1) / (0.1 * total), max(0.0, (total - k) / (0.9 * total))))
    for epoch in range(epochs):
        net.train()
        order = torch.randperm(len(x))
        loss_sum = 0.0
        for b in range(per_epoch):
            i = order[b * batch:(b + 1) * batch]
            # small random rotation, scale and shift of every image
            n = len(i)
            turn = (torch.rand(n) - .5) * .4
            zoom = 1 + (torch.rand(n) - .5) * .2
            theta = torch.zeros(n, 2, 3)
            theta[:, 0, 0], theta[:, 0, 1] = zoom * turn.cos(), -zoom * turn.sin()
            theta[:, 1, 0], theta[:, 1, 1] = zoom * turn.sin(), zoom * turn.cos()
            theta[:, :, 2] = (torch.rand(n, 2) - .5) * .4
            xb = F.grid_sample(x[i], F.affine_grid(theta, [n, 1, 8, 8], align_corners=False), align_corners=False)
            loss = F.cross_entropy(net(xb), y[i], label_smoothing=.05)
            opt.zero_grad(set_to_none=True)
            loss.backward()
            opt.step()
            sched.step()
            loss_sum += loss.item()
        if (epoch + 1) % 20 == 0:
            print(f"epoch {epoch + 1}/{epochs} loss {loss_sum / per_epoch:.4f}", flush=True)
    if activation == "relu":
        settle(net, x)
    return net.eval()


def settle(net, x):
    """Replaces the running batch-norm statistics by those of the unaltered training images."""
    import torch
    norms = [m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
    net.train()
    with torch.no_grad():
        for i in range(0, len(x) - 200, 200):
            net(x[i:i + 200])
    for m in norms:
        m.momentum = .1


def export(net, path):
    import torch
    torch.onnx.export(net.eval(), torch.zeros(1, 1, 8, 8), path, opset_version=17, dynamo=False,
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False,
                      input_names=["image"], output_names=["logits"],
                      dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}})


def run(path, x):
    import onnxruntime
    o = onnxruntime.SessionOptions()
    o.intra_op_num_threads = o.inter_op_num_threads = 1
    s = onnxruntime.InferenceSession(path, o, providers=["CPUExecutionProvider"])
    return s.run(None, {"image": x.astype(np.float32)[:, None] / 255})[0]


def silent(net, x):
    """Counts the ReLU channels that stay at zero for every image of x."""
    import torch
    dead = [0, 0]

    def count(_module, _input, out):
        top = out.amax(dim=(0, 2, 3))
        dead[0] += int((top <= 0).sum())
        dead[1] += len(top)

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, torch.nn.ReLU)]
    with torch.no_grad():
        net(torch.from_numpy(x).float().unsqueeze(1) / 255)
    for h in hooks:
        h.remove()
    return dead


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--activation", choices=["relu", "sigmoid", "tanh"], default="relu")
    p.add_argument("--out", default=os.path.dirname(os.path.abspath(__file__)))
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--epochs", type=int, default=0, help="100 for relu, 200 for sigmoid and tanh")
    p.add_argument("--check", action="store_true")
    a = p.parse_args()
    name = "digits" if a.activation == "relu" else "digits_" + a.activation
    path = os.path.join(a.out, name + ".onnx")
    (x, y), (xc, yc), (xt, yt) = split()
    if not a.check:
        import torch
        net = train(a.activation, x, y, a.seed, a.epochs or (100 if a.activation == "relu" else 200))
        os.makedirs(a.out, exist_ok=True)
        export(net, path)
        if a.activation == "relu":
            np.savez_compressed(os.path.join(a.out, "digits_calib.npz"), x=xc, y=yc)
            np.savez_compressed(os.path.join(a.out, "digits_test.npz"), x=xt, y=yt)
            print("ReLU channels silent on the calibration images: %d of %d" % tuple(silent(net, xc)))
        with torch.no_grad():
            ours = net(torch.from_numpy(xt).float().unsqueeze(1) / 255).numpy()
        gap = float(np.abs(ours - run(path, xt)).max())
        print(f"largest difference between torch (eval) and onnxruntime: {gap:.2e}")
        assert gap < 1e-4, "the exported graph does not compute what the trained network computes"
    for part, (px, py) in {"train": (x, y), "calib": (xc, yc), "test": (xt, yt)}.items():
        hits = int((run(path, px).argmax(1) == py).sum())
        print(f"{name} {part}: {hits} of {len(py)} = {100 * hits / len(py):.2f}")


if __name__ == "__main__":
    main()
