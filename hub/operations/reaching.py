"""Why nobody answers at an address, in words: `hub doctor` tells the name, the port and the way apart."""

import socket

CONNECT_S = 3.0  # whoever is there answers in a thousandth of that


def unreachable(host: str, port: int) -> str:
    """Say why no connection can be made, with the name or the way to blame; "" where one can."""
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except socket.gaierror:
        return "its name is not known to this machine"
    except TimeoutError:
        return "nothing comes back from there: a firewall, or a machine that is down"
    except ConnectionRefusedError:
        return "the machine is there, and nobody listens at this port"
    except OSError as error:
        return f"there is no way to it ({(error.strerror or type(error).__name__).lower()})"
    return ""
