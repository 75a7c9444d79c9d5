"""What a plugin may offer besides what its kind demands: one Protocol for each capability, asked for by `isinstance`.

A plugin has a capability where it has its methods and attributes. It need not name the Protocol.
"""
