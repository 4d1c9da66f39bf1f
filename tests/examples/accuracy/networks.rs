//! The networks that have data: which, and how pixels become their inputs.

/// A network and its data, paths relative to the shared folder.
pub struct Network {
    /// In `models/`, without `.onnx`.
    pub file: &'static str,
    /// Labelled test samples.
    pub data: &'static str,
    /// Calibration samples.
    pub calibration: &'static str,
    /// How many of them.
    pub calibration_samples: usize,
    /// Test samples that are left out because they serve calibration.
    pub skip: usize,
    /// Arguments of the compiler.
    pub preprocessing: &'static [&'static str],
    /// Added to every label.
    pub label_offset: i64,
}

const AKA: &[&str] = &["--mean", ".485,.456,.406", "--std", ".229,.224,.225"];
const DST10: &[&str] = &["--mean", ".4914,.4822,.4465", "--std", ".2023,.1994,.2010"];
const DST100: &[&str] = &["--mean", ".507,.487,.441", "--std", ".267,.256,.276"];
const VGG: &[&str] = &["--mean", ".4914,.4822,.4465", "--std", ".2470,.2435,.2616"];
const TF128: &[&str] = &["--scale", "raw", "--mean", "128", "--std", "128", "--resize", "128"];
const TF224: &[&str] = &["--scale", "raw", "--mean", "128", "--std", "128", "--resize", "224"];

const fn cifar10(file: &'static str, preprocessing: &'static [&'static str]) -> Network {
    Network {
        file,
        data: "data/cifar10_test.npz",
        calibration: "data/cifar10_calib.npz",
        calibration_samples: 1000,
        skip: 0,
        preprocessing,
        label_offset: 0,
    }
}

/// The first images of the sample, which cover as many classes as there are images, calibrate; the others are evaluated.
const fn imagenet(file: &'static str, preprocessing: &'static [&'static str], label_offset: i64) -> Network {
    let data = "data/imagenet_sample";
    Network { file, data, calibration: data, calibration_samples: 96, skip: 96, preprocessing, label_offset }
}

/// All of them. Of the four exports of ResNet-20 one: they are the same network.
pub const NETWORKS: &[Network] = &[
    Network {
        file: "lenet_caffe_mnist_op13",
        data: "data/mnist_test.npz",
        calibration: "data/mnist_train.npz",
        calibration_samples: 1000,
        skip: 0,
        preprocessing: &[],
        label_offset: 0,
    },
    cifar10("resnet20_cifar10_bn_op17", AKA),
    cifar10("resnet32_cifar10_op17", AKA),
    cifar10("resnetB8_cifar10_op17", DST10),
    cifar10("resnetB20_cifar10_op17", DST10),
    Network { data: "data/cifar100_test.npz", calibration: "data/cifar100_calib.npz", ..cifar10("resnetB20_cifar100_op13", DST100) },
    cifar10("wrn16-1_cifar10_op13", DST10),
    cifar10("vgg7_cifar10_bn", VGG),
    cifar10("mlperf_tiny_resnet8_cifar10_op13", &["--scale", "raw"]),
    Network {
        file: "mlperf_tiny_kws_dscnn_op13",
        data: "data/kws_test.npz",
        calibration: "data/kws_test.npz",
        calibration_samples: 100,
        skip: 100,
        preprocessing: &[],
        label_offset: 0,
    },
    imagenet("squeezenet1_1_224_op13", AKA, 0),
    imagenet("mobilenet_v1_0_25_128_deq_op13", TF128, 1),
    imagenet("mobilenet_v2_1_0_224_deq_op17", TF224, 1),
];
