"""Pages of a few plain words: an error in HTML, for whoever came with a browser."""

from html import escape
from urllib.parse import urlencode

from fastapi import Request, Response

from hub.core.errors import HubError
from hub.identity.sign_ins import own_path
from hub.web.problems import headers_of, problem, problem_response


def wants_page(request: Request) -> bool:
    """Say whether a browser asks, by its Accept header: programs that ask for no HTML get problems."""
    return "text/html" in request.headers.get("accept", "")


def refusal_page(request: Request, error: HubError, *, links: tuple[tuple[str, str], ...] = ()) -> Response:
    """Answer with a page that says what is wrong and what to do; `links` are (address, words). Else with a problem."""
    if not wants_page(request):
        return problem_response(error)
    said = problem(error)
    body = [f"<p>{escape(said['detail'])}</p>", f"<p>{escape(error.remedy)}</p>" if error.remedy else ""]
    headers = {name: value for name, value in headers_of(error).items() if name != "www-authenticate"}
    return Response(page(said["title"], "".join(body), links), said["status"], headers, "text/html; charset=utf-8")


def page(title: str, body: str, links: tuple[tuple[str, str], ...] = ()) -> str:
    """Put a page together; `body` is HTML."""
    listed = "".join(f'<p><a href="{escape(address)}">{escape(words)}</a></p>' for address, words in links)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title></head><body><main><h1>{escape(title)}</h1>{body}{listed}</main></body></html>"
    )


def sign_in_again(back: str, least: int = 0) -> str:
    """Return the address of a sign-in that ends on `back`, with at least this assurance."""
    return "/sign-in?" + urlencode({"back": own_path(back)} | ({"least": str(least)} if least else {}))
