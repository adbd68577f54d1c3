r"""Normalising flows, as posteriors and as priors.

A flow is an invertible map z = T(z_0) of simple noise, and its density follows by the change of variables,

    log q(z) = log q_0(z_0) - log |det dT/dz_0|.

Rezende and Mohamed (2015), Variational Inference with Normalizing Flows. As a posterior (`posterior.py`), T depends on
the encoder's features of x, and has to be fast from z_0 to z: a posterior is drawn, and asked only for the density of
what was just drawn. As a prior (`prior.py`) it is asked for the density of codes that the encoder made, and has to be
fast from z to z_0. `bijection.py` says what a map is, `flow.py` what a part that gives one is, `law.py` holds the law
of T(z_0), where noise gets its place.

The flows: autoregressive ones on networks and transformations of the package zuko (`autoregressive.py`), in the
direction of sampling (`iaf.py`), of densities (`maf.py`), or with splines in either (`nsf.py`); and two that need no
network between their steps, planar (`planar.py`) and Sylvester (`sylvester.py`).
"""

from pathlib import Path

from variata import Component, Kind, hookimpl

_HERE = "variata_plugins.flows"


@hookimpl
def variata_kinds() -> list[Kind]:
    """The invertible map in a flow posterior or a flow prior."""
    return [Kind("flow", f"{_HERE}.flow:Flow", "An invertible map with a known determinant")]


@hookimpl
def variata_components() -> list[Component]:
    """A posterior, a prior, and the flows that both are made of."""
    return [
        Component("encoder", "flow", f"{_HERE}.posterior:FlowEncoder", "Gaussian, bent by a flow that sees x"),
        Component("prior", "flow", f"{_HERE}.prior:FlowPrior", "Standard normal, bent by a flow"),
        Component("flow", "iaf", f"{_HERE}.iaf:IAF", "Inverse autoregressive: one pass to sample"),
        Component("flow", "maf", f"{_HERE}.maf:MAF", "Masked autoregressive: one pass for a density"),
        Component(
            "flow", "nsf", f"{_HERE}.nsf:NSF", "Autoregressive splines, one pass in the direction that is needed"
        ),
        Component("flow", "planar", f"{_HERE}.planar:Planar", "Planar steps"),
        Component("flow", "sylvester", f"{_HERE}.sylvester:Sylvester", "Sylvester steps with Householder reflections"),
    ]


@hookimpl
def variata_presets() -> Path:
    """iaf_vae, flow_prior_vae and others."""
    return Path(__file__).parent / "presets"
