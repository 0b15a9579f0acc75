"""Small language models, and how to train one on a mixture."""

from proxies.config import ProxyConfig as ProxyConfig
from proxies.errors import ProxyError as ProxyError
