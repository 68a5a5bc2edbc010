"""What every backbone must do, as tests: for the ones that come along, and for your own.

    pytest --pyargs robovlms.testing --backbone my_package.my_module:MyBackbone

The class is a `Backbone` or a `BaseRoboVLM`; it must build something small from a configuration without `pretrained`.
"""
