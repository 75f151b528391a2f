"""The applications of one hub: for agencies and citizens, for its operator behind a socket, and for what watches it."""

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from hub.interpreter import hidden
from hub.parts import Part
from hub.web.admin import admin_routes
from hub.web.agency import agency_routers
from hub.web.bodies import FormLimit
from hub.web.citizen import citizen_routes
from hub.web.citizen_asks import citizen_ask_routes
from hub.web.citizen_sign_in import citizen_sign_in_routes
from hub.web.demo import demo_routes
from hub.web.opa import bundle_admin_routes, public_bundle
from hub.web.operations import metrics_routes, operation_routes, public_metrics
from hub.web.page_headers import PageHeaders
from hub.web.portal.routes import portal_routes
from hub.web.problems import install
from hub.web.running import Administered
from hub.web.sign_in import sign_in_routes

# Where OpenTelemetry is installed FastAPI would trace by itself: addresses with what stands in them, the messages of
# exceptions, rejected input. A variable of the environment must not switch that on; hub/traces.py says what may leave.
NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


@hidden("pydantic.v1")  # FastAPI loads it to tell its models from others, a twentieth of every start; here are none
def public_app(hub: Administered) -> FastAPI:
    """Make the application that agencies and citizens reach: what this process's parts serve of it."""
    app = FastAPI(
        openapi_url=None, redirect_slashes=False, telemetry=NO_TELEMETRY
    )  # a redirect would repeat the Host that was sent
    app.state.hub = hub
    parts = hub.settings.parts
    for router in agency_routers(parts):
        app.include_router(router)
    if Part.WEB in parts:
        app.include_router(sign_in_routes(hub.agency_tokens))
        dev_sign_in = hub.settings.dev_sign_in or hub.settings.mode == "demo"
        app.include_router(citizen_routes(dev_sign_in=dev_sign_in))
        app.include_router(citizen_ask_routes())
        app.include_router(citizen_sign_in_routes())
        app.include_router(portal_routes(dev_sign_in=dev_sign_in))
    app.include_router(operation_routes())
    if (measured := public_metrics(hub.settings)) is not None:
        app.include_router(measured)
    if (bundle := public_bundle(hub.settings)) is not None:
        app.include_router(bundle)
    if hub.settings.mode == "demo" and Part.WEB in parts:
        app.include_router(demo_routes())
    app.add_middleware(FormLimit)
    app.add_middleware(PageHeaders, https=hub.settings.behind_tls_proxy)
    install(app, hub.log)
    return app


@hidden("pydantic.v1")
def admin_app(hub: Administered) -> FastAPI:
    """Make the application for the operator's socket."""
    app = FastAPI(openapi_url=None, redirect_slashes=False, telemetry=NO_TELEMETRY)
    app.state.hub = hub
    app.include_router(admin_routes())
    app.include_router(operation_routes())
    app.include_router(metrics_routes())
    app.include_router(bundle_admin_routes())
    install(app, hub.log)
    return app


@hidden("pydantic.v1")
def operations_app(hub: Administered) -> FastAPI:
    """Make the application for what probes, scrapes and decides: nothing else is there, so these may reach its port."""
    app = FastAPI(openapi_url=None, redirect_slashes=False, telemetry=NO_TELEMETRY)
    app.state.hub = hub
    app.include_router(operation_routes())
    if (measured := public_metrics(hub.settings)) is not None:
        app.include_router(measured)
    if (bundle := public_bundle(hub.settings)) is not None:
        app.include_router(bundle)  # OPA needs it before the hub is ready, which is when the public port gets requests
    install(app, hub.log)
    return app
