import os
from importlib.metadata import version as installed_version

project = "basisvae-scvi"
author = "basisvae-scvi developers"
copyright = "2026, basisvae-scvi developers"
version = release = installed_version("basisvae-scvi")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
templates_path = ["_templates"]
# docs/tutorials is a link to the folder with the notebooks.
exclude_patterns = ["_build", "jupyter_execute", "tutorials/nextflow", "tutorials/source"]

# Pages are Markdown; notebooks are shown with the output they were saved with.
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"

# The reference shows what this package defines. What a class inherits from scvi-tools is
# documented there, in a dialect (citations, docstring templates) that builds only in its pages.
autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_rtype = False
napoleon_use_ivar = True

# Links into other projects' pages need their inventories, so only the published pages have them.
if os.environ.get("READTHEDOCS"):
    extensions.append("sphinx.ext.intersphinx")
    intersphinx_mapping = {
        "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
        "numpy": ("https://numpy.org/doc/stable/", None),
        "pandas": ("https://pandas.pydata.org/docs/", None),
        "python": ("https://docs.python.org/3/", None),
        "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
        "scvi": ("https://docs.scvi-tools.org/en/stable/", None),
        "torch": ("https://docs.pytorch.org/docs/stable/", None),
    }

html_theme = "sphinx_book_theme"
html_title = "basisvae-scvi"
html_theme_options = {
    "repository_url": "https://github.com/basisvae-scvi/basisvae-scvi",
    "repository_branch": "main",
    "path_to_docs": "docs",
    "use_repository_button": True,
    "use_issues_button": True,
}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
