// One call of bigbluebutton-js: `node call.js URL SECRET GROUP CALL [ARGUMENT ...]`, arguments as JSON. Prints what the
// library makes of the answer; of `join` it prints the link, which is for a browser.
'use strict'

const bbb = require('bigbluebutton-js')

const [url, secret, group, call, ...rest] = process.argv.slice(2)
const link = bbb.api(url, secret)[group][call](...rest.map((argument) => JSON.parse(argument)))
if (call === 'join') {
  console.log(JSON.stringify(link))
} else {
  bbb.http(link).then(
    (answer) => console.log(JSON.stringify(answer)),
    (error) => {
      console.error(String(error))
      process.exit(1)
    }
  )
}
