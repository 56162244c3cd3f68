// The publisher and the page's server in one process, so that one command starts the example.
import './publish.js';
import '../serve.js';
