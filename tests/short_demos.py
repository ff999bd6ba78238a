"""The demos of all tasks, with so little data that an epoch takes seconds."""

# What a launch gets beside --config.
SHORT = {
    "pose": (
        "--config.stages=1",
        "--config.data.train=32",
        "--config.data.validation=8",
        "--config.data.test=8",
        "--config.data.canvas=48",
        "--config.model.input_size=32",
        "--config.model.compact.widths=(8,8,8)",
        "--config.model.compact.out_channels=8",
        "--config.train.epochs=1",
        "--config.evaluation.bootstrap=20",
    ),
    "anomaly": (
        "--config.method=reconstruction",
        "--config.data.train=10",
        "--config.data.test=2",
        "--config.model.input_size=32",
        "--config.model.layers=((4,2,4),(4,2,8))",
        "--config.model.bottleneck=6",
        "--config.train.epochs=1",
        "--config.train.batch_size=4",
        "--config.evaluation.batch_size=4",
        "--config.evaluation.bootstrap=20",
    ),
    "classify": (
        "--config.data.rendered=60",
        "--config.data.size=32",
        "--config.model.input_size=24",
        "--config.train.epochs=1",
        "--config.train.batch_size=8",
        "--config.evaluation.batch_size=8",
        "--config.evaluation.bootstrap=20",
    ),
}
